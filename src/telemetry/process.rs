//! What the operating system knows of this process (Linux; elsewhere nothing is known).

use std::fs;

/// The number under which the auxiliary vector holds the clock ticks of a second (`AT_CLKTCK`, getauxval(3)).
const CLOCK_TICKS: usize = 17;

/// CPU time that the process has used, user and system, to a clock tick (mostly 10 ms).
pub fn cpu_seconds() -> Option<f64> {
    let ticks = cpu_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?;
    Some(ticks as f64 / ticks_per_second(&fs::read("/proc/self/auxv").ok()?)? as f64)
}

/// The most memory that the process has ever had in RAM.
pub fn peak_memory_bytes() -> Option<u64> {
    status_bytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// Memory that the process has in RAM now.
pub fn resident_memory_bytes() -> Option<u64> {
    status_bytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS")
}

/// Fields 14 and 15 of proc_pid_stat(5), counted behind the name, which may hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// The vector is pairs of native words: number and value.
fn ticks_per_second(vector: &[u8]) -> Option<usize> {
    const WORD: usize = size_of::<usize>();
    let (words, _) = vector.as_chunks::<WORD>();
    let (pairs, _) = words.as_chunks::<2>();
    let found = pairs.iter().find(|[number, _]| usize::from_ne_bytes(*number) == CLOCK_TICKS);
    found.map(|[_, ticks]| usize::from_ne_bytes(*ticks)).filter(|ticks| *ticks > 0)
}

/// A line such as `VmHWM:   1234 kB` of proc_pid_status(5).
fn status_bytes(status: &str, key: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_name_of_the_program_does_not_shift_the_fields() {
        let stat = "42 (a) (b c)) S 1 42 42 0 -1 4194304 900 0 0 0 37 5 0 0 20 0 9 0 100 0 0";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("42 (x) S 1 2"), None);
    }

    #[test]
    fn kilobytes_become_bytes() {
        let status = "Name:\tx\nVmHWMs:\t 9 kB\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\n";
        assert_eq!(status_bytes(status, "VmHWM"), Some(2 << 20));
        assert_eq!(status_bytes(status, "VmRSS"), Some(1 << 20));
        assert_eq!(status_bytes(status, "VmSwap"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_known() {
        let before = cpu_seconds().unwrap();
        let resident = resident_memory_bytes().unwrap();
        assert!(resident > 100_000 && peak_memory_bytes().unwrap() >= resident / 2);
        let mut sum = 0_u64;
        while cpu_seconds().unwrap() <= before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    proptest! {
        #[test]
        fn nothing_in_proc_makes_it_panic(text in "\\PC*", bytes: Vec<u8>) {
            let _ = (cpu_ticks(&text), status_bytes(&text, "VmHWM"), ticks_per_second(&bytes));
        }
    }
}
