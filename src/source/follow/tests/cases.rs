//! What happens to a file, one thing at a time.

use super::*;

fn rows(numbers: impl IntoIterator<Item = u32>) -> Vec<Row> {
    numbers.into_iter().map(|number| (f64::from(number), false)).collect()
}

#[test]
fn what_is_written_after_the_rename_is_read_before_the_next_file() {
    let mut case = Case::new(csv());
    case.write(&[true, true], 0);
    case.look_until_quiet();
    let mut writer = OpenOptions::new().append(true).open(case.current()).unwrap();
    std::fs::rename(case.current(), case.path("a.csv.1")).unwrap();
    File::create(case.current()).unwrap();
    case.look_until_quiet();
    // The new file is empty: the writer has not come to it yet.
    writer.write_all(b"2,2\n").unwrap();
    case.append("3,3\n");
    case.look_until_quiet();
    assert_eq!(case.seen, rows(0..4));
    assert!(case.letters.is_empty(), "{:?}", case.letters);
}

#[test]
fn a_line_that_never_got_its_end_is_a_dead_letter_and_a_gap() {
    let mut case = Case::new(csv());
    case.write(&[true, true, true], 1);
    case.look_until_quiet();
    std::fs::rename(case.current(), case.path("a.csv.1")).unwrap();
    case.append("3,3\n");
    case.look_until_quiet();
    assert_eq!(case.seen, [(0.0, false), (1.0, false), (3.0, true)]);
    assert_eq!(case.letters, ["the last line, at byte 12, was left with 3 bytes: the line has no end"]);
}

#[test]
fn a_file_that_was_cut_without_a_copy_goes_on_behind_a_gap_even_after_a_crash() {
    let mut case = Case::new(csv());
    case.write(&[true, true], 0);
    case.look_until_quiet();
    case.commit();
    File::create(case.current()).unwrap();
    case.look_until_quiet();
    case.commit();
    case.kill();
    case.append("7,7\n");
    case.look_until_quiet();
    assert_eq!(case.seen, [(0.0, false), (1.0, false), (7.0, true)]);
}

#[test]
fn a_file_that_was_replaced_while_nobody_looked_goes_on_behind_a_gap() {
    let mut case = Case::new(csv());
    case.write(&[true; 3], 0);
    case.look_until_quiet();
    case.commit();
    case.kill();
    // As an editor or a download does it: another file of the same name.
    std::fs::write(case.path("new"), "t,v\n9,9\n10,10\n").unwrap();
    std::fs::rename(case.path("new"), case.current()).unwrap();
    case.look_until_quiet();
    assert_eq!(case.seen[3..], [(9.0, true), (10.0, false)]);
}

#[test]
fn a_deleted_file_is_waited_for_and_goes_on_without_a_gap() {
    let mut case = Case::new(csv());
    case.write(&[true; 2], 0);
    case.look_until_quiet();
    std::fs::remove_file(case.current()).unwrap();
    case.look_until_quiet();
    let trouble = case.process.as_ref().unwrap().0.trouble().unwrap().to_owned();
    assert!(trouble.ends_with("a.csv is not there; waiting for it"), "{trouble}");
    case.append("2,2\n");
    case.look_until_quiet();
    assert_eq!(case.seen, rows(0..3));
    assert_eq!(case.process.as_ref().unwrap().0.trouble(), None);
}

#[test]
fn what_cannot_be_read_is_said_and_tried_again() {
    let mut case = Case::new(csv());
    std::fs::create_dir(case.current()).unwrap();
    assert_eq!(case.look(), Looked::Nothing);
    let trouble = case.process.as_ref().unwrap().0.trouble().unwrap().to_owned();
    assert!(trouble.contains("is no regular file") && trouble.ends_with("trying again"), "{trouble}");
    std::fs::remove_dir(case.current()).unwrap();
    case.write(&[true], 0);
    case.look_until_quiet();
    assert_eq!(case.seen, rows(0..1));
}

#[test]
fn bytes_that_are_no_lines_are_told_once_they_are_many() {
    let mut case = Case::new(csv());
    std::fs::write(case.current(), vec![0; 3 << 20]).unwrap();
    case.look_until_quiet();
    let trouble = case.process.as_ref().unwrap().0.trouble().unwrap().to_owned();
    assert!(
        trouble.ends_with("no line ends within the 3145728 bytes from byte 0 on: is it text?"),
        "{trouble}"
    );
    case.append("\nt,v\n0,0\n");
    case.look_until_quiet();
    assert_eq!(case.letters[0], "the line at byte 0 has 3145729 bytes, 1048576 are possible");
    assert_eq!(case.process.as_ref().unwrap().0.trouble(), None);
}

#[test]
fn columns_are_found_in_the_header_of_each_file() {
    let mut case = Case::new(csv());
    std::fs::write(case.current(), "t,v\n0,0\n").unwrap();
    case.look_until_quiet();
    case.commit();
    std::fs::rename(case.current(), case.path("a.csv.1")).unwrap();
    std::fs::write(case.current(), "v,t\n1,500\n").unwrap();
    case.look_until_quiet();
    case.kill();
    // In the midst of a file its header is read again.
    case.look_until_quiet();
    assert_eq!(case.seen, rows(0..2));
}
