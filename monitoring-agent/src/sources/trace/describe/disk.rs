//! Spans of requests to disks.

use std::{borrow::Cow, sync::LazyLock};

use monitoring_common::{
    block::{DISK_NAME_BYTES, RequestKey},
    trace::{DiskDetail, Header, flags},
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::{Described, Names, Series, error_name};
use crate::spans::attributes::{float, integer, text};

/// A sector that says that the request is about none.
const NO_SECTOR: u64 = u64::MAX;

/// Error numbers that the kernel gives programs for its statuses of requests, from status 1 on:
/// `blk_errors` of its `block/blk-core.c`. Those up to here are the same in all kernels.
const ERRNOS: [i32; 13] = [
    libc::EOPNOTSUPP,
    libc::ETIMEDOUT,
    libc::ENOSPC,
    libc::ENOLINK,
    libc::EREMOTEIO,
    libc::EBADE,
    libc::ENODATA,
    libc::EILSEQ,
    libc::ENOMEM,
    libc::EIO,
    // The device mapper's own.
    libc::EREMCHG,
    libc::EAGAIN,
    libc::EBUSY,
];

/// The further ones, from status 14 on. Kernels before 6.10 had one more before these, which no
/// program was told of, so that theirs begin at 15.
const LATER_ERRNOS: [i32; 6] = [
    // Too many open zones, and too many active ones.
    libc::ETOOMANYREFS,
    libc::EOVERFLOW,
    // Offline.
    libc::ENODEV,
    // Over the limit of a command's duration.
    libc::ETIME,
    // Of a wrong size or alignment: 19, and 18 since there is no gap before it any more.
    libc::EINVAL,
    libc::EINVAL,
];

/// Since when the later statuses begin at 14.
const WITHOUT_GAP: (u32, u32) = (6, 10);

/// Whether this kernel has the status more.
static HAS_GAP: LazyLock<bool> = LazyLock::new(|| {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    has_gap(&release)
});

/// A request, by its operation.
pub(super) fn describe(header: &Header, detail: &DiskDetail, names: &Names) -> Described {
    let operation = names.operations.name(detail.operation);
    let disk = disk_name(detail);
    let mut attributes = vec![
        text("system.device", disk.clone()),
        text("stratoswarm.disk.operation", operation),
        integer("stratoswarm.disk.bytes", detail.bytes),
    ];
    // The conventions know these two.
    if ["read", "write"].contains(&operation) {
        attributes.push(text("disk.io.direction", operation));
    }
    if detail.sector != NO_SECTOR {
        attributes.push(integer("stratoswarm.disk.sector", detail.sector));
    }
    if detail.issued_ns >= header.start_ns && detail.issued_ns != 0 {
        let queued_ns = detail.issued_ns - header.start_ns;
        let seconds = queued_ns as f64 / 1e9;
        attributes.push(float("stratoswarm.disk.queue.duration", seconds));
    }
    Described {
        attributes,
        error: error(header, *HAS_GAP),
        exemplar: Some(Series {
            metric: "block_io_duration_seconds",
            labels: vec![("device", disk), ("operation", operation.to_owned())],
        }),
        ..Described::new(format!("disk {operation}"), SpanKind::Internal)
    }
}

/// How a request failed, if it did. Kernels before 5.16 give a negative error number, the others a
/// status of their own kind; a request of which only an earlier part failed ends with 0.
fn error(header: &Header, has_gap: bool) -> Option<Cow<'static, str>> {
    if header.flags & flags::FAILED == 0 {
        return None;
    }
    let errno = match header.code {
        ..0 => header.code.saturating_neg(),
        status => errno_of(status, has_gap),
    };
    // Whatever is not known is what most failures are.
    Some(error_name(errno).unwrap_or(Cow::Borrowed("EIO")))
}

/// The error number of a status; 0 if it has none.
fn errno_of(status: i32, has_gap: bool) -> i32 {
    let Some(place) = usize::try_from(status).unwrap_or(0).checked_sub(1) else {
        return 0;
    };
    let later = || {
        let place = place.checked_sub(ERRNOS.len() + usize::from(has_gap))?;
        LATER_ERRNOS.get(place)
    };
    ERRNOS.get(place).or_else(later).copied().unwrap_or(0)
}

/// Whether a kernel of this release has the status more.
fn has_gap(release: &str) -> bool {
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) < WITHOUT_GAP,
        _ => false,
    }
}

/// The disk's name as the metrics have it.
fn disk_name(detail: &DiskDetail) -> String {
    let key = RequestKey {
        disk: detail.disk,
        operation: 0,
        agent: 0,
    };
    String::from_utf8_lossy(key.disk_name(&mut [0; DISK_NAME_BYTES])).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::trace::testing::header;

    fn named(code: i32, flags: u8, has_gap: bool) -> Option<String> {
        let header = Header {
            code,
            flags,
            ..header(7, "reader")
        };
        error(&header, has_gap).map(Cow::into_owned)
    }

    #[test]
    fn failures_have_the_error_that_programs_are_given() {
        let check = |code, want: &[&str; 2]| {
            for (has_gap, want) in [true, false].into_iter().zip(want) {
                let named = named(code, flags::FAILED, has_gap);
                assert_eq!(named.as_deref(), Some(*want), "{code} {has_gap}");
            }
            assert_eq!(named(code, 0, false), None);
        };
        for (status, name) in [
            (1, "EOPNOTSUPP"),
            (2, "ETIMEDOUT"),
            (3, "ENOSPC"),
            (4, "ENOLINK"),
            (5, "EREMOTEIO"),
            (6, "EBADE"),
            (7, "ENODATA"),
            (8, "EILSEQ"),
            (9, "ENOMEM"),
            (10, "EIO"),
            (12, "EAGAIN"),
            (13, "EBUSY"),
            // Negative error numbers are what they are.
            (-5, "EIO"),
            (-28, "ENOSPC"),
            // Nothing says more.
            (0, "EIO"),
            (200, "EIO"),
            (i32::MIN, "EIO"),
            (i32::MAX, "EIO"),
        ] {
            check(status, &[name; 2]);
        }
        check(14, &["EIO", "ETOOMANYREFS"]);
        check(15, &["ETOOMANYREFS", "EOVERFLOW"]);
        check(16, &["EOVERFLOW", "ENODEV"]);
        check(17, &["ENODEV", "ETIME"]);
        check(18, &["ETIME", "EINVAL"]);
        check(19, &["EINVAL"; 2]);
    }

    #[test]
    fn releases_say_how_statuses_are_numbered() {
        for (release, want) in [
            ("5.15.0-91-generic", true),
            ("6.9.12", true),
            ("6.10-rc1", false),
            ("6.12.3+deb13-amd64", false),
            ("7.0.0", false),
            ("", false),
        ] {
            assert_eq!(has_gap(release), want, "{release}");
        }
    }
}
