//! A pipeline that is slower than the wire.

use std::io::Read;
use std::process::Stdio;

use integration_tests::Workplace;
use integration_tests::kafka::{Random, free_port, metric_sum, wait_until};
use integration_tests::serial::{Device, cobs, excerpt, patch_record};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{COBS, PACKED, PATIENCE, pipeline};

#[test]
fn samples_that_do_not_fit_are_counted_and_leave_gaps() {
    let workplace = Workplace::new();
    // Nobody reads standard output, a small pipe, until the end.
    let text =
        pipeline("patch", COBS, PACKED).replace("100000000", "4096") + "[[sinks]]\ntype = \"stdout\"\n";
    let text =
        text.replace("model = \"models/ecg-16x\"", "model = \"models/ecg-16x\"\nframes_per_packet = 1");
    workplace.write("patch.toml", text);
    let device = Device::plug_in(&workplace.path("patch"));
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = workplace.command(&["run", "patch.toml", "--metrics", &address]);
    let log = std::fs::File::create(workplace.path("log")).unwrap();
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    fcntl(&stdout, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let metric = |name: &str| metric_sum(&address, name).unwrap_or(0.0);
    wait_until("the port is open", PATIENCE, || metric("rivulet_serial_connected") == 1.0);

    let samples = excerpt();
    let mut sender = device.sender(Random::new(Random::seed("overrun")));
    let mut sent = 0;
    let mut number = 0_u16;
    while metric("rivulet_serial_overrun_samples_total") < 20_000.0 {
        assert!(sent < 4_000_000, "nothing stalls");
        for record in samples.chunks_exact(8) {
            sender.send(&cobs(&patch_record(number, record)));
            number = number.wrapping_add(1);
            sent += record.len() as u64;
        }
    }
    let reading = std::thread::spawn(move || {
        let mut lines = String::new();
        stdout.read_to_string(&mut lines).unwrap();
        lines
    });
    let all_told = |sent: u64| {
        metric("rivulet_samples_in_total") + metric("rivulet_serial_overrun_samples_total") == sent as f64
    };
    wait_until("the backlog is empty", PATIENCE, || all_told(sent));
    // What is sent now is not lost, and stands behind the gap.
    for record in samples.chunks_exact(8).take(256) {
        sender.send(&cobs(&patch_record(number, record)));
        number = number.wrapping_add(1);
        sent += record.len() as u64;
    }
    wait_until("what was sent last is read", PATIENCE, || all_told(sent));
    let overrun = metric("rivulet_serial_overrun_samples_total") as u64;
    assert_eq!(metric("rivulet_serial_lost_records_total"), 0.0, "they were read");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(reading.join().unwrap().lines().count() > 0);

    let inspected = workplace.rivulet(&["inspect", "patch.rvl", "--json"]).ok().json();
    assert_eq!(inspected["total"]["samples"].as_u64().unwrap() + overrun, sent, "{inspected}");
    assert!(inspected["streams"][0]["gaps"].as_u64().unwrap() > 0, "{inspected}");
    let log = std::fs::read_to_string(workplace.path("log")).unwrap();
    assert_eq!(log.matches("records come faster than the pipeline takes them").count(), 1, "{log}");
}
