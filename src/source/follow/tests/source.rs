//! The source as the pipeline sees it.

use super::*;

#[test]
fn the_streams_of_a_file_are_told_apart_by_their_keys() {
    let fields = JsonFields {
        samples: vec!["v".parse().unwrap()],
        layout: JsonLayout::Rows,
        time: None,
        key: Some("k".parse().unwrap()),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.jsonl");
    let key = |key: usize| format!("{{\"k\":\"{key}\",\"v\":{key}}}\n");
    std::fs::write(&path, [0, 1, 0, 2].map(key).concat()).unwrap();
    let options = FollowOptions {
        path,
        decoding: options(Codec::Json(fields)),
        start: Start::Beginning,
        max_streams: 2,
    };
    let store = Store::open(&folder.path().join("p.state")).unwrap();
    let mut source = FollowSource::new(options, store, Telemetry::new().pipeline("p"));
    let mut said = Vec::new();
    while said.len() < 7 {
        match source.next_event().unwrap() {
            SourceEvent::Open(opened) => said.push(format!("open {}", opened.next)),
            SourceEvent::Stream { info, .. } => said.push(format!("stream {}", info.key)),
            SourceEvent::Chunk(chunk) => said.push(format!("{} {:?}", chunk.stream, chunk.samples)),
            SourceEvent::DeadLetter { letter, .. } => said.push(letter.reason),
            SourceEvent::Idle => {}
            other => panic!("{other:?}"),
        }
    }
    let full = said.pop().unwrap();
    assert_eq!(said, ["open 0", "stream 0", "0 [0.0]", "stream 1", "1 [1.0]", "0 [0.0]"]);
    assert!(full.starts_with("its stream does not fit: there are 2 streams already"), "{full}");
}

#[test]
fn a_pattern_finds_files_that_come_later_and_leaves_out_rotations() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.csv", "t,v\n0,1\n");
    write("a.csv.1", "t,v\n0,9\n");
    write("skipped.csv", "t,v\n0,8\n0,");
    let options = FollowOptions {
        path: folder.path().join("*.csv*"),
        decoding: csv(),
        start: Start::End,
        max_streams: 10,
    };
    let store = Store::open(&folder.path().join("p.state")).unwrap();
    let mut source = FollowSource::new(options, store, Telemetry::new().pipeline("p"));
    let mut seen = Vec::new();
    let mut idle = 0;
    while seen.len() < 3 && idle < 100 {
        match source.next_event().unwrap() {
            SourceEvent::Chunk(chunk) => seen.push((chunk.origin, chunk.samples[0])),
            SourceEvent::Idle => {
                idle += 1;
                if idle == 2 {
                    // What was at the end goes on from the last whole line, and what is new from its beginning.
                    let mut file =
                        OpenOptions::new().append(true).open(folder.path().join("skipped.csv")).unwrap();
                    file.write_all(b"5\n0,6\n").unwrap();
                    write("b.csv", "t,v\n0,2\n");
                }
            }
            _ => {}
        }
    }
    assert_eq!(seen, [(1, 5.0), (1, 6.0), (2, 2.0)]);
}
