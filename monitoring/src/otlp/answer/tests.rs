//! Answers of all kinds, and what they mean.

use http::HeaderValue;
use tonic_types::ErrorDetails;

use super::*;

const NOW: Duration = Duration::from_secs(784_111_777);

fn http(status: u16, retry_after: Option<&str>) -> Failure {
    let mut headers = HeaderMap::new();
    if let Some(value) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    of_http(status, &headers, SystemTime::UNIX_EPOCH + NOW)
}

#[test]
fn http_statuses_mean_what_the_specification_says() {
    for status in [429, 502, 503, 504] {
        let failure = http(status, None);
        assert!(
            matches!(&failure, Failure::Unavailable { after: None, .. }),
            "{failure:?}"
        );
    }
    for status in [301, 304, 400, 401, 403, 404, 408, 415, 500, 501, 505] {
        let failure = http(status, Some("1"));
        assert!(matches!(&failure, Failure::Refused(_)), "{failure:?}");
        assert!(
            failure.to_string().contains(&status.to_string()),
            "{failure}"
        );
    }
    assert!(matches!(http(413, None), Failure::TooLarge(_)));
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let check = |value: &str, want: Option<u64>| {
        let Failure::Unavailable { after, .. } = http(429, Some(value)) else {
            panic!("429 is not taken for what passes");
        };
        assert_eq!(after, want.map(Duration::from_secs), "{value}");
    };
    check("0", Some(0));
    check(" 120 ", Some(120));
    check("18446744073709551615", Some(u64::MAX));
    check("Sun, 06 Nov 1994 08:49:47 GMT", Some(10));
    check("Sun, 06 Nov 1994 08:49:00 GMT", Some(0));
    for nonsense in ["", "-1", "1.5", "soon", "99999999999999999999999"] {
        check(nonsense, None);
    }
}

#[test]
fn statuses_of_grpc_mean_what_the_specification_says() {
    let retried = [1, 4, 10, 11, 14, 15];
    for number in 1..=16 {
        let failure = of_grpc(&Status::new(Code::from_i32(number), "why\nnot"));
        let is_retried = matches!(failure, Failure::Unavailable { after: None, .. });
        assert_eq!(is_retried, retried.contains(&number), "{failure:?}");
        let is_refused = matches!(failure, Failure::Refused(_));
        assert_eq!(is_refused, !is_retried, "{failure:?}");
        assert!(failure.to_string().ends_with(": why not"), "{failure}");
    }
}

#[test]
fn retry_info_says_when() {
    let delay = Duration::from_millis(1500);
    for code in [Code::ResourceExhausted, Code::Unavailable] {
        let details = ErrorDetails::with_retry_info(Some(delay));
        let failure = of_grpc(&Status::with_error_details(code, "busy", details));
        let Failure::Unavailable { after, .. } = &failure else {
            panic!("{failure:?}");
        };
        assert_eq!(*after, Some(delay), "{failure:?}");
    }
}

#[test]
fn a_message_that_is_too_large_is_told_from_a_quota() {
    for said in [
        "grpc: received message larger than max (5000000 vs. 4194304)",
        "gRPC message exceeds maximum size 4194304: 5000000",
    ] {
        let failure = of_grpc(&Status::resource_exhausted(said));
        assert!(matches!(&failure, Failure::TooLarge(_)), "{failure:?}");
    }
    let said = "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes";
    let failure = of_grpc(&Status::out_of_range(said));
    assert!(matches!(&failure, Failure::TooLarge(_)), "{failure:?}");
    let failure = of_grpc(&Status::resource_exhausted("quota of the month"));
    assert!(matches!(&failure, Failure::Refused(_)), "{failure:?}");
}

#[test]
fn a_success_may_be_partial() {
    let answer = |rejected, error_message: &str| {
        let partial_success = Some(PartialSuccess {
            rejected,
            error_message: error_message.to_owned(),
        });
        accepted(&Answer { partial_success }.encode_to_vec())
    };
    assert_eq!(answer(7, "too\told").rejected, 7);
    assert_eq!(answer(7, "too\told").said, "too old");
    assert_eq!(answer(0, "a warning").said, "a warning");
    assert_eq!(answer(-1, "").rejected, 0);
    assert_eq!(answer(1, &"é".repeat(1000)).said.chars().count(), SAID);
    for bytes in [&b""[..], b"<html>", b"{}", &[0xff; 100]] {
        assert_eq!(accepted(bytes), Accepted::default());
    }
}

#[test]
fn what_is_rejected_is_known_though_the_words_about_it_are_cut_off() {
    let partial_success = Some(PartialSuccess {
        rejected: 300,
        error_message: "x".repeat(2 * LONGEST),
    });
    let message = Answer { partial_success }.encode_to_vec();
    assert_eq!(accepted(&message).rejected, 300);
    assert_eq!(accepted(&message[..LONGEST]).rejected, 300);
    assert_eq!(accepted(&vec![b'\n'; LONGEST]), Accepted::default());
}
