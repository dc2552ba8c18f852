//! Opening a serial port.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, OFlags};
use rustix::io::Errno;
use serial2_tokio::{CharSize, FlowControl, Parity, SerialPort, Settings, StopBits};

/// How a port is set.
#[derive(Clone, Debug, PartialEq)]
pub struct PortOptions {
    /// The device, or a link to it.
    pub path: PathBuf,
    /// Bits per second.
    pub baud_rate: u32,
    /// Bits of a character.
    pub data_bits: CharSize,
    /// The bit that checks a character.
    pub parity: Parity,
    /// Bits behind a character.
    pub stop_bits: StopBits,
    /// How the receiver holds up the sender.
    pub flow_control: FlowControl,
    /// True if no other program may use the port meanwhile.
    pub exclusive: bool,
}

/// An open port.
pub(super) struct Port {
    pub(super) serial: SerialPort,
    /// Holds the lock on the device.
    pub(super) lock: Option<PortLock>,
}

/// Keeps other programs out of a device.
pub(super) struct PortLock(File);

impl Drop for PortLock {
    fn drop(&mut self) {
        // The kernel would keep them out as long as anyone has the device open, a pty's other end for one. One that is
        // gone needs no more.
        let _ = rustix::termios::ioctl_tiocnxcl(&self.0);
    }
}

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Refusal {
    /// What is wrong and what to do.
    reason: String,
    /// True if there is no such device.
    pub(super) is_missing: bool,
}

impl Refusal {
    fn new(reason: String) -> Self {
        Self { reason, is_missing: false }
    }
}

impl PortOptions {
    /// Opens the port and forgets what came before. Has to be called within a tokio runtime.
    pub(super) fn open(&self) -> Result<Port, Refusal> {
        // A link may be pointed elsewhere between two looks at it.
        let device = self.path.canonicalize().map_err(|error| self.refusal(&error))?;
        let lock = match self.exclusive {
            true => Some(PortLock(self.lock(&device)?)),
            false => None,
        };
        let settings = |mut settings: Settings| -> io::Result<Settings> {
            settings.set_raw();
            settings.set_baud_rate(self.baud_rate)?;
            settings.set_char_size(self.data_bits);
            settings.set_parity(self.parity);
            settings.set_stop_bits(self.stop_bits);
            settings.set_flow_control(self.flow_control);
            Ok(settings)
        };
        let serial = SerialPort::open(&device, settings).map_err(|error| self.refusal(&error))?;
        if let Some(lock) = &lock {
            rustix::termios::ioctl_tiocexcl(&lock.0).map_err(|error| self.refusal(&error.into()))?;
        }
        serial.discard_input_buffer().map_err(|error| self.refusal(&error))?;
        Ok(Port { serial, lock })
    }

    /// A lock that also keeps out those whom the kernel lets in everywhere, which root's programs are.
    fn lock(&self, device: &Path) -> Result<File, Refusal> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(device);
        let file = opened.map_err(|error| self.refusal(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(self.refusal(&Errno::BUSY.into())),
            Err(TryLockError::Error(error)) => Err(self.refusal(&error)),
        }
    }

    fn refusal(&self, error: &io::Error) -> Refusal {
        let path = self.path.display();
        if let Some(refusal) = common_refusal(&self.path, error) {
            return refusal;
        }
        Refusal::new(match Errno::from_io_error(error) {
            Some(Errno::BUSY) => format!(
                "{path} is in use by another program: end it ('fuser -v {path}' names it), or set exclusive = false \
                 in both"
            ),
            _ => format!(
                "{path} cannot be opened with {} baud and the settings beside it: {error}",
                self.baud_rate
            ),
        })
    }
}

/// What is wrong with a path, whatever the settings are.
fn common_refusal(path: &Path, error: &io::Error) -> Option<Refusal> {
    let shown = path.display();
    Some(match Errno::from_io_error(error)? {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => Refusal {
            reason: format!(
                "{shown} is not there: is the device plugged in? 'rivulet list ports' shows what is there"
            ),
            is_missing: true,
        },
        Errno::ACCESS | Errno::PERM => {
            Refusal::new(format!("{shown} may not be opened: {}", permission_hint(path)))
        }
        Errno::NOTTY | Errno::ISDIR => no_port(path),
        _ => return None,
    })
}

fn no_port(path: &Path) -> Refusal {
    Refusal::new(format!("{} is no serial port; 'rivulet list ports' shows what is there", path.display()))
}

/// Holds that there is a device that may be opened, without opening it: that resets some.
pub(crate) fn is_port(path: &Path) -> Result<(), Refusal> {
    let refusal = |error: io::Error| {
        let refusal = common_refusal(path, &error);
        refusal.unwrap_or_else(|| Refusal::new(format!("{}: {error}", path.display())))
    };
    let metadata = path.metadata().map_err(refusal)?;
    if !metadata.file_type().is_char_device() {
        return Err(no_port(path));
    }
    rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK).map_err(|error| refusal(error.into()))
}

/// What to do where the device may not be opened.
fn permission_hint(path: &Path) -> String {
    const GROUP_MAY: u32 = 0o060;
    let Ok(metadata) = path.metadata() else {
        return "a folder above it may not be entered".to_owned();
    };
    match group_name(metadata.gid()) {
        Some(group) if metadata.mode() & GROUP_MAY == GROUP_MAY && metadata.gid() != 0 => format!(
            "add the user to the group '{group}', which it belongs to ('sudo usermod -aG {group} USER'), and start \
             the program anew"
        ),
        _ => {
            format!("its mode is {:o}; give the user the right to read and write it", metadata.mode() & 0o777)
        }
    }
}

fn group_name(id: u32) -> Option<String> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(path: &Path) -> PortOptions {
        PortOptions {
            path: path.to_owned(),
            baud_rate: 115_200,
            data_bits: CharSize::Bits8,
            parity: Parity::None,
            stop_bits: StopBits::One,
            flow_control: FlowControl::None,
            exclusive: true,
        }
    }

    #[test]
    fn what_cannot_be_opened_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |path: &Path| options(path).open().err().unwrap().to_string();
        let missing = refusal(&folder.path().join("ttyUSB0"));
        assert!(missing.contains("is the device plugged in?"), "{missing}");
        assert!(refusal(folder.path()).contains("is no serial port"), "{}", refusal(folder.path()));
        let file = folder.path().join("file");
        std::fs::write(&file, "no port").unwrap();
        assert!(refusal(&file).contains("is no serial port"), "{}", refusal(&file));
        assert!(is_port(&file).unwrap_err().to_string().contains("is no serial port"));
        assert!(is_port(&folder.path().join("ttyUSB0")).unwrap_err().to_string().contains("plugged in?"));
        let busy = options(&file).refusal(&Errno::BUSY.into()).to_string();
        assert!(busy.contains("in use by another program"), "{busy}");
    }

    #[test]
    fn the_group_that_may_is_named() {
        assert_eq!(group_name(0).as_deref(), Some("root"));
        let hint = permission_hint(Path::new("/dev/ptmx"));
        assert!(hint.contains("group 'tty'") || hint.contains("its mode is"), "{hint}");
    }
}
