//! Checkpoints, and what goes on from them.

use proptest::prelude::*;

use super::*;

/// A part of a run: where it takes up the partition, how far it comes, and whether streams are idle for long there.
type Leg = (prop::sample::Index, prop::sample::Index, bool);

fn legs(idle: bool) -> impl Strategy<Value = Vec<Leg>> {
    let idle = prop::bool::weighted(if idle { 0.5 } else { 0.0 });
    prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), idle), 0..6)
}

/// Reads `log` in legs, each of which begins anywhere before the checkpoint of the one before, with the windows of
/// that checkpoint. The last one reads all of it and closes every frame.
fn in_legs(shape: Shape, log: &[Message], legs: &[Leg]) -> Frames {
    let mut kept = Kept::default();
    let mut frames = Vec::new();
    for (from, to, idle) in legs {
        let from = from.index(kept.next as usize + 1);
        let mut reading = Reading::new(shape);
        reading.open(0, &kept, from as i64).unwrap();
        reading.read_to(0, log, from + to.index(log.len() + 1 - from));
        if *idle {
            reading.stage.close_idle(Instant::now());
        }
        let (left, checkpoint) = reading.checkpoint();
        frames.extend(left);
        kept.keep(checkpoint);
    }
    let mut reading = Reading::new(shape);
    reading.open(0, &kept, 0).unwrap();
    reading.read_to(0, log, log.len());
    reading.stage.finish();
    frames.extend(reading.encoded());
    by_key(frames)
}

proptest! {
    #[test]
    fn windows_go_on_wherever_the_partition_is_read_again_from(
        (shape, log) in any_shape(StateKept::Windows).prop_flat_map(|shape| (Just(shape), messages(shape, "k", 3))),
        legs in legs(false),
    ) {
        prop_assert_eq!(in_legs(shape, &log, &legs), in_legs(shape, &log, &[]));
    }

    #[test]
    fn frames_that_idleness_closes_leave_no_sample_out_and_none_twice(
        (shape, log) in any_shape(StateKept::Windows).prop_flat_map(|shape| (Just(shape), messages(shape, "k", 3))),
        legs in legs(true),
    ) {
        let samples = |frames: &[Frame]| -> Vec<f64> {
            let valid = |frame: &Frame| frame.samples[..frame.valid as usize * shape.model_channels].to_vec();
            frames.iter().flat_map(valid).collect()
        };
        let (found, expected) = (in_legs(shape, &log, &legs), in_legs(shape, &log, &[]));
        prop_assert!(found.keys().eq(expected.keys()));
        for (key, frames) in &found {
            prop_assert!(frames.iter().map(|frame| frame.number).eq(0..frames.len() as u64));
            prop_assert_eq!(samples(frames), samples(&expected[key]), "{}", key);
        }
    }

    #[test]
    fn the_start_of_the_open_frame_is_enough_for_one_stream(
        (shape, log) in any_shape(StateKept::Start).prop_flat_map(|shape| (Just(shape), messages(shape, "k", 1))),
        legs in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 0..6),
    ) {
        let mut kept = Kept::default();
        let mut frames = Vec::new();
        for [to, further] in legs {
            let from = kept.next as usize;
            let to = from + to.index(log.len() + 1 - from);
            let mut reading = Reading::new(shape);
            reading.open(0, &kept, kept.next).unwrap();
            reading.read_to(0, &log, to);
            let (left, checkpoint) = reading.checkpoint();
            frames.extend(left);
            prop_assert!(checkpoint.origins.iter().all(|origin| origin.next >= kept.next), "it goes back");
            kept.keep(checkpoint);
            // What was read after the checkpoint is lost.
            reading.read_to(0, &log, to + further.index(log.len() + 1 - to));
        }
        let mut reading = Reading::new(shape);
        reading.open(0, &kept, kept.next).unwrap();
        reading.read_to(0, &log, log.len());
        frames.extend(reading.checkpoint().0);
        prop_assert_eq!(by_key(frames), undisturbed(shape, &log));
    }
}

const START: Shape = Shape { state: StateKept::Start, ..Shape::SMALL };

/// A message that nothing comes of.
fn nothing() -> Message {
    Message { key: StreamKey::new("none"), chunks: Vec::new() }
}

#[test]
fn a_stream_that_has_not_come_back_keeps_its_number() {
    let log = [message("a", 0..4), nothing(), message("a", 4..8)];
    let mut kept = Kept::default();
    let mut frames = Vec::new();
    for end in 1..=log.len() {
        let mut reading = Reading::new(START);
        reading.open(0, &kept, kept.next).unwrap();
        reading.read_to(0, &log, end);
        let (left, checkpoint) = reading.checkpoint();
        frames.extend(left);
        kept.keep(checkpoint);
        assert_eq!(kept.next, end as i64);
    }
    assert_eq!(by_key(frames), undisturbed(START, &log));
}

#[test]
fn a_gap_across_a_restart_is_seen_where_the_frame_before_was_full() {
    let at = |time_ms: i64, message: Message| {
        let chunks = message.chunks.into_iter().map(|(_, samples)| (Some(time_ms * 1_000_000), samples));
        Message { chunks: chunks.collect(), ..message }
    };
    let log = [at(0, message("a", 0..4)), at(500, message("a", 4..8))];
    for shape in [START, Shape::SMALL] {
        let mut reading = Reading::new(shape);
        reading.open(0, &Kept::default(), 0).unwrap();
        reading.read_to(0, &log, 1);
        let mut kept = Kept::default();
        kept.keep(reading.checkpoint().1);
        let mut reading = Reading::new(shape);
        reading.open(0, &kept, kept.next).unwrap();
        reading.read_to(0, &log, 2);
        let frames = reading.checkpoint().0;
        assert_eq!(frames.len(), 1);
        assert!(frames[0].1.after_gap && frames[0].1.number == 1, "{:?}", frames[0]);
    }
}

#[test]
fn a_state_without_samples_is_for_one_stream() {
    let log = [message("a", 0..4), message("b", 0..4)];
    let both = |error: EncodeError| {
        let error = error.to_string();
        assert!(error.contains("t/0") && error.contains("'a' and 'b'"), "{error}");
        assert!(error.contains("delivery.state"), "{error}");
    };
    let mut reading = Reading::new(START);
    reading.open(0, &Kept::default(), 0).unwrap();
    reading.read_to(0, &log, 1);
    let mut kept = Kept::default();
    kept.keep(reading.checkpoint().1);
    both(reading.read(0, &log).unwrap_err());

    let mut reading = Reading::new(START);
    reading.open(0, &kept, kept.next).unwrap();
    both(reading.read(0, &log).unwrap_err());
}

#[test]
fn a_note_of_something_else_is_refused() {
    for note in ["", "x", "0102", "zz:0", "010:0", "0104:x"] {
        let kept = Kept { note: Some(note.to_owned()), ..Kept::default() };
        let error = Reading::new(START).open(3, &kept, 0).unwrap_err().to_string();
        assert!(error.starts_with("t/3: what was committed cannot be taken up again"), "{error}");
    }
    let kept = Kept { note: Some("x".to_owned()), ..Kept::default() };
    Reading::new(Shape::SMALL).open(3, &kept, 0).unwrap();
}

#[test]
fn streams_beyond_the_most_become_dead_letters_and_the_others_go_on() {
    let shape = Shape { max_streams: 3, ..Shape::SMALL };
    let logs = [
        vec![message("a", 0..4), message("b", 0..2), message("a", 4..8)],
        vec![message("c", 0..4), message("d", 0..4), message("d", 4..8), message("c", 4..8)],
    ];
    let mut reading = Reading::new(shape);
    let mut letters = Vec::new();
    for (partition, log) in logs.iter().enumerate() {
        reading.open(partition, &Kept::default(), 0).unwrap();
        for _ in log {
            letters.extend(reading.read(partition, log).unwrap());
        }
    }
    let letters: Vec<_> =
        letters.iter().map(|letter| (letter.origin.as_str(), letter.position, letter.samples)).collect();
    assert_eq!(letters, [("t/1", Position::Offset(1), 4), ("t/1", Position::Offset(2), 4)]);
    assert_eq!(reading.stage.open_streams(), (3, 2));
    let (frames, checkpoint) = reading.checkpoint();
    let counts: Vec<_> =
        by_key(frames).into_iter().map(|(key, frames)| (key.to_string(), frames.len())).collect();
    assert_eq!(counts, [("a".to_owned(), 2), ("c".to_owned(), 2)]);
    assert_eq!(checkpoint.origins.iter().map(|origin| origin.next).collect::<Vec<_>>(), [3, 4]);

    // Where one goes, another has room.
    reading.close(0);
    reading.open(2, &Kept::default(), 0).unwrap();
    let log = [message("e", 0..4)];
    assert!(reading.read(2, &log).unwrap().is_empty());
}

#[test]
fn every_channel_counts_as_a_stream() {
    let shape = Shape { max_streams: 3, source_channels: 2, ..Shape::SMALL };
    let mut reading = Reading::new(shape);
    for (partition, key) in ["a", "b"].into_iter().enumerate() {
        reading.open(partition, &Kept::default(), 0).unwrap();
        let letters = reading.read(partition, &[message(key, 0..8)]).unwrap();
        assert_eq!(letters.len(), partition, "{letters:?}");
    }
    assert_eq!(reading.stage.open_streams().0, 2);
}

#[test]
fn the_open_frame_of_an_idle_stream_is_closed_once() {
    let log = [message("a", 0..5), message("b", 0..2), message("a", 5..6)];
    let mut reading = Reading::new(Shape::SMALL);
    let before = Instant::now();
    reading.open(0, &Kept::default(), 0).unwrap();
    reading.read_to(0, &log, 2);
    reading.stage.close_idle(before);
    let summary = |frames: Vec<(StreamKey, Frame)>| {
        let summary = |(key, frame): (StreamKey, Frame)| (key.to_string(), frame.number, frame.valid);
        frames.into_iter().map(summary).collect::<Vec<_>>()
    };
    let (frames, checkpoint) = reading.checkpoint();
    assert_eq!(summary(frames), [("a".to_owned(), 0, 4)], "nothing has been idle since before it came");
    assert_eq!(checkpoint.origins[0].windows.len(), 2);

    for closed in [vec![("a".to_owned(), 1, 1), ("b".to_owned(), 0, 2)], vec![]] {
        reading.stage.close_idle(Instant::now());
        assert_eq!(reading.stage.has_moved(), !closed.is_empty());
        let (frames, checkpoint) = reading.checkpoint();
        assert_eq!(checkpoint.origins.iter().map(|origin| origin.windows.len()).sum::<usize>(), closed.len());
        assert_eq!(summary(frames), closed);
    }
    reading.read_to(0, &log, 3);
    reading.stage.close_idle(Instant::now());
    assert_eq!(summary(reading.checkpoint().0), [("a".to_owned(), 2, 1)]);
}

#[test]
fn what_idleness_closes_while_messages_are_read_again_is_not_taken_twice() {
    let log = [message("b", 0..1), message("a", 0..2), message("a", 2..4), message("a", 4..6)];
    let mut kept = Kept::default();
    let mut reading = Reading::new(Shape { frame_size: 8, ..Shape::SMALL });
    reading.open(0, &kept, 0).unwrap();
    reading.read_to(0, &log, 3);
    kept.keep(reading.checkpoint().1);

    let mut frames = Vec::new();
    for (from, to) in [(0, 2), (2, 4)] {
        let mut reading = Reading::new(reading.shape);
        reading.open(0, &kept, from).unwrap();
        reading.read_to(0, &log, to);
        reading.stage.close_idle(Instant::now());
        let (left, checkpoint) = reading.checkpoint();
        frames.extend(left);
        kept.keep(checkpoint);
    }
    let frames = &by_key(frames)[&StreamKey::new("a")];
    let samples: Vec<_> = frames.iter().map(|frame| frame.samples[..frame.valid as usize].to_vec()).collect();
    assert_eq!(samples, [vec![0.0, 1.0, 2.0, 3.0], vec![4.0, 5.0]]);
}

#[test]
fn what_was_not_encoded_of_a_closed_origin_is_gone() {
    let log = [message("a", 0..9)];
    let mut reading = Reading::new(Shape::SMALL);
    for partition in 0..2 {
        reading.open(partition, &Kept::default(), 0).unwrap();
        reading.read_to(partition, &log, 1);
    }
    reading.close(0);
    assert_eq!(reading.encoded().len(), 2, "those of the other one stay");
    reading.close_all();
    assert!(reading.checkpoint().0.is_empty());
}
