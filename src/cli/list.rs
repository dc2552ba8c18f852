//! `rivulet list`: what this machine has that pipelines can use.

use std::fmt::Write;

use super::{CliError, exit, print};
use crate::source::serial::ports::{self, PortInfo};

/// Arguments of `rivulet list`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Serial ports, for the path of a source of type serial.
    Ports {
        /// Print them as a JSON array.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let What::Ports { json } = arguments.what;
    let ports = ports::list().map_err(|error| {
        CliError::new(exit::UNAVAILABLE, format_args!("the system does not tell its serial ports: {error}"))
    })?;
    let text = match json {
        true => {
            let json = serde_json::to_string_pretty(&ports);
            json.map_err(|error| CliError::new(exit::INTERNAL, error))? + "\n"
        }
        false => as_text(&ports),
    };
    print(&text)
}

fn as_text(ports: &[PortInfo]) -> String {
    if ports.is_empty() {
        return "no serial ports: is a device plugged in?\n".to_owned();
    }
    let mut text = String::new();
    for port in ports {
        let known: Vec<_> =
            [&port.manufacturer, &port.product].into_iter().flatten().map(String::as_str).collect();
        let usb = port.usb_id.as_ref().map(|id| format!("USB {id}"));
        let serial = port.serial_number.as_ref().map(|number| format!("serial number {number}"));
        let parts = [(!known.is_empty()).then(|| known.join(" ")), usb, serial];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        let about =
            if parts.is_empty() { "nothing is known of the device".to_owned() } else { parts.join(", ") };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {about}", port.path.display());
        if let Some(link) = &port.by_id {
            let _ = writeln!(text, "    {}", link.display());
        }
        if let Some(refusal) = &port.refusal {
            let _ = writeln!(text, "    {refusal}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_shown_with_what_is_known_of_it() {
        let port = PortInfo {
            path: "/dev/ttyUSB0".into(),
            by_id: Some("/dev/serial/by-id/usb-FTDI_patch".into()),
            manufacturer: Some("FTDI".into()),
            product: Some("ECG patch".into()),
            serial_number: None,
            usb_id: Some("0403:6001".into()),
            refusal: Some("may not".into()),
        };
        let bare = PortInfo {
            path: "/dev/ttyS0".into(),
            by_id: None,
            manufacturer: None,
            product: None,
            usb_id: None,
            refusal: None,
            ..port.clone()
        };
        assert_eq!(
            as_text(&[port, bare]),
            "/dev/ttyUSB0: FTDI ECG patch, USB 0403:6001\n    /dev/serial/by-id/usb-FTDI_patch\n    may not\n\
             /dev/ttyS0: nothing is known of the device\n"
        );
        assert!(as_text(&[]).contains("no serial ports"));
    }
}
