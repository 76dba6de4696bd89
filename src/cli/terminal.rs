//! What a command changes on the person's terminal while it runs. It is put back when the command goes on or is
//! interrupted.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal as _, stdin};
use tokio::signal::unix::{SignalKind, signal};

/// A terminal that shows less of what is typed; dropping this puts it back.
pub(super) struct Quiet(Termios);

impl Quiet {
    /// Nothing that is typed is shown.
    pub(super) fn typing() -> std::io::Result<Self> {
        Self::without(LocalModes::ECHO)
    }

    /// Ctrl-C is not shown as `^C`, which would move what is drawn. `None` where no terminal is.
    pub(super) fn interrupts() -> Option<Self> {
        let quiet = || Self::without(LocalModes::ECHOCTL).ok();
        stdin().is_terminal().then(quiet).flatten()
    }

    fn without(modes: LocalModes) -> std::io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes -= modes;
        tcsetattr(stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }

    /// From now on an interrupt puts the terminal back and ends the process, as it would without us.
    pub(super) fn until_interrupted(&self) -> std::io::Result<()> {
        let before = self.0.clone();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            let number = tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
            };
            drop(Self(before));
            super::note("");
            std::process::exit(128 + number);
        });
        Ok(())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing put back.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
    }
}
