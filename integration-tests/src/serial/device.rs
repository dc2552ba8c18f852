//! A device on a pseudo-terminal.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use crate::kafka::Random;

/// 921,600 baud with a start and a stop bit.
const BYTES_PER_SECOND: f64 = 92_160.0;

/// A device that is plugged in, behind a link that keeps its name.
#[derive(Debug)]
pub struct Device {
    link: PathBuf,
    port: File,
}

impl Device {
    /// Plugs a device in: `link` leads to it from here on.
    pub fn plug_in(link: &Path) -> Self {
        // A daemon that another test starts must not inherit it: the device would stay plugged in.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let port = posix_openpt(flags).expect("a pseudo-terminal");
        grantpt(&port).expect("access to it");
        unlockpt(&port).expect("access to it");
        let name = ptsname_r(&port).expect("a name");
        let other_end =
            File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&name);
        let other_end = other_end.expect("its other end");
        let mut settings = tcgetattr(&other_end).expect("settings");
        cfmakeraw(&mut settings);
        tcsetattr(&other_end, SetArg::TCSANOW, &settings).expect("settings");
        let _ = std::fs::remove_file(link);
        symlink(name, link).expect("a link");
        Self { link: link.to_owned(), port: File::from(OwnedFd::from(port)) }
    }

    /// What it really is.
    pub fn path(&self) -> PathBuf {
        self.link.canonicalize().expect("the link leads somewhere")
    }

    /// Sends at the pace of the wire.
    pub fn sender(&self, random: Random) -> Sender<'_> {
        Sender { port: &self.port, random, started: Instant::now(), sent: 0 }
    }

    /// Unplugs it.
    pub fn unplug(self) {
        std::fs::remove_file(&self.link).expect("the link");
    }
}

/// Writes to a device's port.
#[derive(Debug)]
pub struct Sender<'d> {
    port: &'d File,
    random: Random,
    started: Instant,
    sent: usize,
}

impl Sender<'_> {
    /// Sends bytes in pieces of random length, no faster than the wire.
    pub fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let length = (self.random.within(1..400) as usize).min(bytes.len());
            let (piece, rest) = bytes.split_at(length);
            self.port.write_all(piece).expect("the device takes what it sends");
            bytes = rest;
            self.sent += piece.len();
            let due = Duration::from_secs_f64(self.sent as f64 / BYTES_PER_SECOND);
            std::thread::sleep(due.saturating_sub(self.started.elapsed()));
        }
    }
}
