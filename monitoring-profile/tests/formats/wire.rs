//! Protocol buffers byte by byte, as a profile's files are made of. On purpose not by the code
//! that is tested.

/// A number as it is written.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// A field that is a number.
pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field that is a text or a message.
pub(crate) fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [
        varint(field << 3 | 2),
        varint(value.len() as u64),
        value.to_vec(),
    ]
    .concat()
}

/// A message of fields.
pub(crate) fn message(field: u64, fields: &[Vec<u8>]) -> Vec<u8> {
    bytes(field, &fields.concat())
}

/// A table of texts.
pub(crate) fn strings(texts: &[&str]) -> Vec<u8> {
    texts
        .iter()
        .flat_map(|text| bytes(6, text.as_bytes()))
        .collect()
}

/// The smallest file with a sample: `main` at address 16 of `/bin/x`, 7 samples, `pid` 42.
pub(crate) fn small() -> Vec<Vec<u8>> {
    vec![
        message(1, &[number(1, 1), number(2, 2)]),
        message(
            2,
            &[
                number(1, 5),
                number(2, 7),
                message(3, &[number(1, 5), number(3, 42)]),
            ],
        ),
        message(3, &[number(1, 9), number(2, 16), number(5, 4)]),
        message(
            4,
            &[
                number(1, 5),
                number(2, 9),
                number(3, 16),
                message(4, &[number(1, 3)]),
            ],
        ),
        message(5, &[number(1, 3), number(2, 3)]),
        strings(&["", "samples", "count", "main", "/bin/x", "pid"]),
    ]
}
