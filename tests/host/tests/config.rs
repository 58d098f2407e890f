// SPDX-License-Identifier: GPL-2.0

//! Configuration, case by case. The names in brackets are those of the fault catalogue.

use displif_host_tests::displif::config::{
    ConfigError, MAX_TEXT, Resolution, Version, choose_version, parse_be_alloc, parse_resolution,
    parse_unique_id,
};

#[test]
fn resolutions() {
    // C4
    use ConfigError::{Empty, Malformed, OutOfRange, TooLong};
    let long = "1".repeat(MAX_TEXT - 1);
    let refused = [
        ("", Empty),
        ("x", Malformed),
        ("1024", Malformed),
        ("1024x", Malformed),
        ("x768", Malformed),
        ("-1x5", Malformed),
        ("+1x5", Malformed),
        ("1x+5", Malformed),
        ("800x600junk", Malformed),
        ("800x600x", Malformed),
        ("800x600x32", Malformed),
        ("800xx600", Malformed),
        ("800X600", Malformed),
        (" 800x600", Malformed),
        ("800x600\n", Malformed),
        ("800x600\0", Malformed),
        ("800 x 600", Malformed),
        ("0x320x0x200", Malformed),
        ("800.0x600", Malformed),
        ("0x600", OutOfRange),
        ("800x0", OutOfRange),
        ("16385x1", OutOfRange),
        ("1x16385", OutOfRange),
        ("99999x99999", OutOfRange),
        ("4294967296x1", OutOfRange),
        ("4294968096x600", OutOfRange),
        ("800x18446744073709552216", OutOfRange),
        (&format!("{long}x"), OutOfRange),
        (&format!("{long}x1"), TooLong),
        (&"1".repeat(1 << 20), TooLong),
    ];
    for (text, error) in refused {
        assert_eq!(parse_resolution(text.as_bytes()), Err(error), "{text}");
    }
    let accepted = [
        ("1x1", 1, 1),
        ("1024x768", 1024, 768),
        ("3840x2160", 3840, 2160),
        ("16384x16384", 16384, 16384),
        ("0800x0600", 800, 600),
    ];
    for (text, width, height) in accepted {
        assert_eq!(
            parse_resolution(text.as_bytes()),
            Ok(Resolution { width, height }),
            "{text}"
        );
    }
    assert_eq!(parse_resolution("８00x600".as_bytes()), Err(Malformed));
}

#[test]
fn versions() {
    // C6
    let long = "1,".repeat(MAX_TEXT);
    let cases = [
        ("", Version::V1),
        ("1", Version::V1),
        ("2", Version::V2),
        ("1,2", Version::V2),
        ("2,1", Version::V2),
        ("1, 2", Version::V2),
        ("3", Version::V1),
        ("1,2,3", Version::V2),
        ("2,2,,x", Version::V2),
        ("12", Version::V1),
        ("1;2", Version::V1),
        ("22,1", Version::V1),
        (",", Version::V1),
        ("two", Version::V1),
        (&format!("{long}2"), Version::V1),
    ];
    for (text, version) in cases {
        assert_eq!(choose_version(Some(text.as_bytes())), version, "{text}");
    }
    assert_eq!(choose_version(None), Version::V1);
    assert_eq!([Version::V1.name(), Version::V2.name()], ["1", "2"]);
}

#[test]
fn be_alloc() {
    // C7
    assert!(parse_be_alloc(Some(b"1")));
    for text in ["", "0", "2", "11", "01", "yes", " 1", "1\n"] {
        assert!(!parse_be_alloc(Some(text.as_bytes())), "{text}");
    }
    assert!(!parse_be_alloc(None));
}

#[test]
fn unique_ids() {
    let longest = "a".repeat(MAX_TEXT);
    for text in ["Virtual-1", "HDMI-A-1", "7", "a b", "~!", &longest] {
        let name = parse_unique_id(text.as_bytes()).map(|name| name.as_str());
        assert_eq!(name, Ok(text));
    }
    let refused: [(&[u8], ConfigError); 6] = [
        (b"", ConfigError::Empty),
        (b"a\n", ConfigError::Malformed),
        (b"a\0", ConfigError::Malformed),
        (b"\x1b[2J", ConfigError::Malformed),
        (b"\xff\xfe", ConfigError::Malformed),
        ("\u{e4}".as_bytes(), ConfigError::Malformed),
    ];
    for (text, error) in refused {
        assert_eq!(parse_unique_id(text), Err(error));
    }
    let too_long = format!("{longest}a");
    assert_eq!(
        parse_unique_id(too_long.as_bytes()),
        Err(ConfigError::TooLong)
    );
}

#[test]
fn errors_complete_a_sentence() {
    let errors = [
        ConfigError::Empty,
        ConfigError::TooLong,
        ConfigError::Malformed,
        ConfigError::OutOfRange,
    ];
    for error in errors {
        let text = format!("resolution {error}");
        assert!(text.starts_with("resolution is ") || text.starts_with("resolution has "));
    }
}
