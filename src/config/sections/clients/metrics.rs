//! `[metrics]`: who may read /metrics.

use crate::config::key::{choice, switch};
use crate::config::section::section;

section! {
    /// Who may read /metrics; admins always may.
    pub struct MetricsSettings {
        /// Anybody.
        pub open: bool = switch("metrics.open", false)
            .doc("May everybody read /metrics? Else only admins and, by metrics.local, this machine."),
        /// Who connects from this machine; [`crate::config::Config::local_metrics`] works it out.
        pub local: LocalMetrics = choice("metrics.local", &["auto", "on", "off"], "auto", LocalMetrics::of)
            .doc("May who connects from this machine read /metrics, if no proxy header came with the request?\nauto: yes, unless trusted_proxies is set, as a proxy on this machine brings strangers."),
    }
}

/// Whether who connects from this machine may read /metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalMetrics {
    /// Unless there are trusted proxies.
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

impl LocalMetrics {
    fn of(word: &str) -> Result<Self, String> {
        match word {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err(format!("\"{word}\" is none of auto, on, off")),
        }
    }
}
