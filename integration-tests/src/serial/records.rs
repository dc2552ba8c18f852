//! Records as firmware writes them.

/// CRC-16/IBM-3740, bit by bit.
pub fn crc16_ccitt(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => crc << 1 ^ 0x1021,
        })
    })
}

/// A record of the ECG patch in `pipelines/serial.toml`, without its framing.
pub fn patch_record(number: u16, samples: &[i16]) -> Vec<u8> {
    let mut record = number.to_le_bytes().to_vec();
    samples.iter().for_each(|sample| record.extend(sample.to_le_bytes()));
    record.push(1);
    record
}

/// A record with its CRC, encoded by COBS, with the zero behind it.
pub fn cobs(record: &[u8]) -> Vec<u8> {
    let mut body = record.to_vec();
    body.extend(crc16_ccitt(record).to_le_bytes());
    let mut wire = Vec::new();
    for run in body.split(|byte| *byte == 0) {
        assert!(run.len() < 254, "records are short");
        wire.push(run.len() as u8 + 1);
        wire.extend_from_slice(run);
    }
    wire.push(0);
    wire
}

/// A record behind a sync and its length, with its CRC.
pub fn length_delimited(sync: &[u8], record: &[u8]) -> Vec<u8> {
    let mut wire = sync.to_vec();
    wire.push(u8::try_from(record.len()).expect("records are short"));
    wire.extend_from_slice(record);
    wire.extend(crc16_ccitt(record).to_be_bytes());
    wire
}
