//! The serial ports of this machine, and what is known of the devices behind them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serial2_tokio::SerialPort;

use super::is_port;

/// Where udev links ports by their devices' names.
const BY_ID: &str = "/dev/serial/by-id";
/// Where the kernel tells of its devices.
const CLASS: &str = "/sys/class/tty";

/// A serial port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PortInfo {
    /// The device.
    pub(crate) path: PathBuf,
    /// A link to it that keeps its name when the device is plugged in elsewhere.
    pub(crate) by_id: Option<PathBuf>,
    /// Who made the device.
    pub(crate) manufacturer: Option<String>,
    /// What it is.
    pub(crate) product: Option<String>,
    /// Its serial number.
    pub(crate) serial_number: Option<String>,
    /// USB's numbers for both, as `vid:pid`.
    pub(crate) usb_id: Option<String>,
    /// Why this user may not open it.
    pub(crate) refusal: Option<String>,
}

/// Every port, by its path.
///
/// # Errors
/// The system does not tell.
pub(crate) fn list() -> io::Result<Vec<PortInfo>> {
    let mut paths = SerialPort::available_ports()?;
    paths.retain(|path| has_device(Path::new(CLASS), path));
    paths.sort();
    let links = links(Path::new(BY_ID));
    Ok(paths.into_iter().map(|path| describe(path, &links, Path::new(CLASS))).collect())
}

/// Ports for which the kernel holds places, without a chip behind them, are none.
fn has_device(class: &Path, path: &Path) -> bool {
    let Some(folder) = path.file_name().map(|name| class.join(name)) else { return false };
    // A UART that is not there has the type 0, PORT_UNKNOWN.
    !fs::read_to_string(folder.join("type")).is_ok_and(|kind| kind.trim() == "0")
}

fn describe(path: PathBuf, links: &[(PathBuf, PathBuf)], class: &Path) -> PortInfo {
    let link = links.iter().find(|(_, device)| *device == path).map(|(link, _)| link.clone());
    let device = path.file_name().map(|name| class.join(name).join("device"));
    let device = device.and_then(|device| device.canonicalize().ok());
    // The USB device is a few folders above the port of the interface that it has.
    let usb =
        device.iter().flat_map(|device| device.ancestors()).find(|folder| folder.join("idVendor").is_file());
    let read = |name: &str| {
        let text = fs::read_to_string(usb?.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let usb_id =
        read("idVendor").zip(read("idProduct")).map(|(vendor, product)| format!("{vendor}:{product}"));
    PortInfo {
        refusal: is_port(&path).err().map(|refusal| refusal.to_string()),
        by_id: link,
        manufacturer: read("manufacturer"),
        product: read("product"),
        serial_number: read("serial"),
        usb_id,
        path,
    }
}

/// The links in a folder, with where they lead.
fn links(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut links: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let device = entry.path().canonicalize().ok()?;
            Some((entry.path(), device))
        })
        .collect();
    links.sort();
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_knows_of_a_usb_device_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let usb = folder.path().join("devices/usb1/1-2");
        let interface = usb.join("1-2:1.0/ttyUSB7");
        let class = folder.path().join("class");
        fs::create_dir_all(&interface).unwrap();
        fs::create_dir_all(class.join("ttyUSB7")).unwrap();
        std::os::unix::fs::symlink(&interface, class.join("ttyUSB7/device")).unwrap();
        for (name, text) in [
            ("idVendor", "0403\n"),
            ("idProduct", "6001\n"),
            ("product", "ECG patch\n"),
            ("manufacturer", "\n"),
            ("serial", "A5XK3RJT\n"),
        ] {
            fs::write(usb.join(name), text).unwrap();
        }
        let path = folder.path().join("ttyUSB7");
        fs::write(&path, "").unwrap();
        let by_id = folder.path().join("by-id");
        fs::create_dir(&by_id).unwrap();
        std::os::unix::fs::symlink(&path, by_id.join("usb-ECG_patch")).unwrap();
        let path = path.canonicalize().unwrap();

        let info = describe(path.clone(), &links(&by_id), &class);
        assert_eq!(info.by_id, Some(by_id.join("usb-ECG_patch")));
        assert_eq!(info.usb_id.as_deref(), Some("0403:6001"));
        assert_eq!(info.product.as_deref(), Some("ECG patch"));
        assert_eq!(info.manufacturer, None);
        assert_eq!(info.serial_number.as_deref(), Some("A5XK3RJT"));
        assert!(info.refusal.unwrap().contains("is no serial port"));

        assert!(has_device(&class, &path));
        fs::write(class.join("ttyUSB7/type"), "0\n").unwrap();
        assert!(!has_device(&class, &path), "a UART that is not there");
    }

    #[test]
    fn this_machine_can_be_asked() {
        for port in list().unwrap_or_default() {
            assert!(port.path.starts_with("/dev"), "{port:?}");
        }
    }
}
