//! CPU time of the server, of this client and of the whole machine, from `/proc`.

use std::fs;

use crate::target::Target;

/// Linux counts in hundredths of a second for every program, whatever its own clock does.
const TICKS: f64 = 100.0;

/// CPU seconds so far.
pub struct Cpu {
    /// Of the server process, if it is known.
    pub server: Option<f64>,
    own: Option<f64>,
    /// Of all cores: in use, and in all.
    machine: Option<(f64, f64)>,
}

impl Cpu {
    pub fn now(target: &Target) -> Self {
        let server = target.pid.map(|pid| pid.to_string());
        Self {
            server: server.and_then(|pid| of_process(&pid)),
            own: of_process("self"),
            machine: of_machine(),
        }
    }

    /// Share of the machine's time since then that neither server nor client took.
    pub fn others_since(&self, before: &Self) -> Option<f64> {
        let known = (self.server? - before.server?) + (self.own? - before.own?);
        let (busy, all) = (self.machine?, before.machine?);
        let (busy, all) = (busy.0 - all.0, busy.1 - all.1);
        (all > 0.0).then(|| ((busy - known) / all).clamp(0.0, 1.0))
    }
}

fn of_process(pid: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut after = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = after.next()?.parse().ok()?;
    let system: f64 = after.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn of_machine() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields = text.lines().next()?.split_whitespace().skip(1).take(8);
    let ticks: Vec<f64> = fields.map_while(|field| field.parse().ok()).collect();
    let all: f64 = ticks.iter().sum();
    // The fourth and fifth are idle, and idle while a disk works.
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Some(((all - idle) / TICKS, all / TICKS))
}
