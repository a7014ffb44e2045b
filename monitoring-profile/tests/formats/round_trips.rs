//! What is written is what is read.

use std::{collections::HashSet, io::Read as _};

use flate2::read::GzDecoder;
use monitoring_profile::{
    Label, Line, Mapping, Profile, ValueType,
    pprof::{self, Limits},
};
use proptest::prelude::*;

use super::any;

fn again(profile: &Profile) -> Profile {
    pprof::read(&pprof::write(profile), Limits::default()).unwrap()
}

#[test]
fn an_empty_profile_is_one() {
    let empty = Profile::new(vec![ValueType::new("samples", "count")]);
    let read = again(&empty);
    assert_eq!(read.sample_types(), empty.sample_types());
    assert_eq!((read.samples().len(), read.total(0)), (0, 0));
    assert_eq!((read.default_type(), read.period()), (0, None));
}

/// What `go tool pprof` and speedscope rely on.
#[test]
fn files_are_as_readers_expect_them() {
    let mut profile = Profile::new(vec![ValueType::new("samples", "count")]);
    let mapping = profile.mapping(&Mapping::default());
    let function = profile.function("main", "", "", 0);
    let location = profile.location(Some(mapping), 16, &[Line { function, line: 0 }]);
    profile.sample(&[location], &[1], &[Label::number("pid", 0)]);
    let mut file = Vec::new();
    let compressed = pprof::write(&profile);
    GzDecoder::new(&*compressed).read_to_end(&mut file).unwrap();
    let texts: Vec<usize> = (0..file.len())
        .filter(|at| file[*at..].starts_with(&[0x32]))
        .collect();
    assert_eq!(file[texts[0] + 1], 0, "the first text is empty");
    assert!(file.windows(4).any(|bytes| bytes == b"main"));
    // A sample's numbers are packed: field 1, of one byte, location 1; field 2, of one byte, 1.
    assert!(
        file.windows(6)
            .any(|bytes| bytes == [0x0a, 1, 1, 0x12, 1, 1]),
        "{file:x?}"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(profile in any::signed_profile()) {
        let read = again(&profile);
        prop_assert_eq!(any::content(&read), any::content(&profile));
        prop_assert_eq!(read.sample_types(), profile.sample_types());
        prop_assert_eq!(read.default_type(), profile.default_type());
        prop_assert_eq!(read.period(), profile.period());
        prop_assert_eq!(read.time_ns(), profile.time_ns());
        prop_assert_eq!(read.duration_ns(), profile.duration_ns());
        prop_assert!(read.comments().eq(profile.comments()));
        prop_assert_eq!(read.uninteresting(), profile.uninteresting());
        prop_assert_eq!(pprof::write(&read), pprof::write(&again(&read)));
    }

    #[test]
    fn tables_hold_nothing_twice(profile in any::profile()) {
        let functions: HashSet<_> = profile.functions().map(|(_, function)| function).collect();
        prop_assert_eq!(functions.len(), profile.functions().len());
        let locations: HashSet<_> = profile.locations().map(|(_, location)| location).collect();
        prop_assert_eq!(locations.len(), profile.locations().len());
        let mappings: HashSet<_> = profile.mappings().map(|(_, mapping)| mapping).collect();
        prop_assert_eq!(mappings.len(), profile.mappings().len());
    }
}
