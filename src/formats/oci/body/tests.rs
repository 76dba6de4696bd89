//! What the one reader of manifests takes for granted, and what not.

use super::*;
use crate::types::Digest;

#[test]
fn depth_is_counted_outside_of_text() {
    for (json, deep) in [
        ("{}", 1),
        (r#"{"a":[{}],"b":"[[[[\"[[[["}"#, 3),
        ("1", 0),
        (r#"["\\",[]]"#, 2),
    ] {
        assert_eq!(depth(json.as_bytes()), deep, "{json}");
    }
    let nested = |n: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    assert!(RawManifest::read(nested(DEPTH_MAX - 1).as_bytes()).is_ok());
    assert!(RawManifest::read(nested(DEPTH_MAX).as_bytes()).is_err());
}

#[test]
fn what_is_not_asked_for_must_be_json_all_the_same() {
    for bad in [
        &b"{\"x\":tru}"[..],
        b"{\"x\":\"\xff\"}",
        b"{\"x\":1,}",
        b"{\"x\":[1}",
        b"{} {}",
        b"{\"layers\":[}",
    ] {
        let text = String::from_utf8_lossy(bad);
        let error = RawManifest::read(bad).expect_err(&text).to_string();
        assert!(error.contains("not JSON"), "{text}: {error}");
    }
}

#[test]
fn annotations_are_kept_for_a_referrer_unless_they_are_long() {
    let subject = format!(
        r#","subject":{{"digest":"sha256:{}","size":2}}"#,
        "a".repeat(64)
    );
    let text = |len: usize| format!(r#"{{"b":"2","a":"{}"}}"#, "x".repeat(len));
    let read = |annotations: &str, subject: &str| {
        let json = format!(r#"{{"annotations":{annotations}{subject}}}"#);
        let document = RawManifest::read(json.as_bytes()).expect("JSON");
        let all = document.annotations_as_they_came();
        document.body().map(|body| (body.annotations, all))
    };
    // Two pairs cost 8 bytes each beside their keys and the value "2".
    let full = ANNOTATIONS_MAX - 2 * 8 - 3;
    for (len, subject, kept) in [
        (3, subject.as_str(), true),
        (full, &subject, true),
        (full + 1, &subject, false),
        (3, "", false),
    ] {
        let want = vec![
            ("a".to_owned(), "x".repeat(len)),
            ("b".to_owned(), "2".to_owned()),
        ];
        let (got, all) = read(&text(len), subject).expect("well formed");
        assert_eq!(got, kept.then(|| want.clone()), "{len} {subject}");
        assert_eq!(all.expect("there").get(), text(len));
    }
    let (none, all) = read("null", &subject).expect("none");
    assert!(none == Some(Vec::new()) && all.is_none());
    let twice = format!(r#"{{"a":"{0}","a":"{0}"}}"#, "x".repeat(full * 2 / 3));
    let (once, _) = read(&twice, &subject).expect("well formed");
    assert_eq!(once.expect("not long").len(), 1);
    // Readers in Go take null for the empty text.
    let (kept, all) =
        read(r#"{"a":"x","b":null,"a":null,"c":"y"}"#, &subject).expect("well formed");
    assert_eq!(kept, Some(vec![("c".to_owned(), "y".to_owned())]));
    assert!(all.is_some());
    for bad in ["[]", "1", r#"{"a":1}"#, r#"{"a":{}}"#] {
        for subject in ["", &subject] {
            let error = read(bad, subject).expect_err(bad).to_string();
            assert!(error.contains("annotations"), "{bad}: {error}");
        }
    }
}

#[test]
fn the_last_of_two_counts_and_names_may_be_escaped() {
    let json = br#"{"schemaVersion":1,"schema\u0056ersion":2,"config":null}"#;
    let document = RawManifest::read(json).expect("JSON");
    assert!(!document.has_config() && !document.has_manifests());
    let body = document.body().expect("well formed");
    assert_eq!(body.schema_version, Some(2));
    assert!(body.config.is_none());
}

fn read_one(text: &str) -> Result<Descriptor<'_>, FormatError> {
    Descriptor::read(serde_json::from_str(text).expect("JSON"))
}

fn descriptor(more: &str) -> String {
    let digest = Digest::of(crate::types::Algorithm::Sha256, b"{}");
    format!(r#"{{"digest":"{digest}","size":2{more}}}"#)
}

#[test]
fn null_and_empty_are_absent() {
    let null = r#","mediaType":null,"urls":null,"platform":null,"annotations":null,"data":null,"artifactType":null"#;
    let empty = r#","mediaType":"","urls":[],"platform":{},"annotations":{},"data":"""#;
    for more in ["", null, empty] {
        let text = descriptor(more);
        let read = read_one(&text).expect(more);
        assert!(
            read.media_type.is_none() && !read.may_be_elsewhere(),
            "{more}"
        );
        assert!(
            read.attests().is_none() && read.inline().is_none(),
            "{more}"
        );
        assert_eq!(read.platform().unwrap_or_default(), Platform::default());
    }
    let null = r#"{"schemaVersion":2,"mediaType":null,"artifactType":"","manifests":null,"config":{},"layers":null,
        "blobs":null,"subject":null,"annotations":null}"#;
    let null = null.replace("{},", &(descriptor("") + ","));
    let document = RawManifest::read(null.as_bytes()).expect("JSON");
    assert!(document.has_config() && !document.has_manifests());
    assert_eq!(document.media_type(), None);
    let body = document.body().expect("well formed");
    assert!(body.config.is_some() && body.manifests.is_none() && body.layers.is_none());
    assert!(body.artifact_type.is_none() && body.subject.is_none());
    // Of an index, null is the list of nothing.
    for index in [
        r#"{"manifests":null}"#,
        r#"{"manifests":null,"config":null,"layers":null}"#,
    ] {
        let document = RawManifest::read(index.as_bytes()).expect("JSON");
        assert!(document.has_manifests());
        let body = document.body().expect("well formed");
        assert!(
            body.manifests.is_some_and(|list| list.is_empty()),
            "{index}"
        );
    }
}

#[test]
fn content_in_its_descriptor() {
    for (data, is_it) in [
        ("e30=", true),
        (" e30=\\n", true),
        ("e30", false),
        ("e31=", false),
        ("", false),
    ] {
        let text = descriptor(&format!(r#","data":"{data}""#));
        let read = read_one(&text).expect(data);
        assert_eq!(
            read.inline().as_deref(),
            is_it.then_some(&b"{}"[..]),
            "{data}"
        );
    }
    let long = descriptor(r#","data":"e30=""#).replace(r#""size":2"#, r#""size":3"#);
    let read = read_one(&long).expect("JSON");
    assert!(read.has_data() && read.inline().is_none());
}

#[test]
fn odd_platforms_and_annotations_break_nothing() {
    for (more, os) in [
        (
            r#","platform":{"os":"linux","architecture":null,"os.features":[1]}"#,
            Some("linux"),
        ),
        (r#","platform":{"os":1}"#, Some("")),
        (r#","platform":"linux""#, None),
        (r#","platform":[]"#, None),
    ] {
        let text = descriptor(more);
        let read = read_one(&text).expect(more);
        assert_eq!(read.platform().map(|p| p.os).as_deref(), os, "{more}");
    }
    for annotations in [
        "[]",
        "1",
        r#"{"vnd.docker.reference.digest":null}"#,
        r#"{"vnd.docker.reference.digest":"x"}"#,
    ] {
        let text = descriptor(&format!(r#","annotations":{annotations}"#));
        let read = read_one(&text).expect(annotations);
        assert!(read.attests().is_none(), "{annotations}");
    }
}

#[test]
fn what_go_takes_for_nothing_is_taken() {
    let digest = Digest::of(crate::types::Algorithm::Sha256, b"{}");
    for (more, size, elsewhere) in [
        ("", 0, false),
        (r#","size":null"#, 0, false),
        (r#","size":2,"urls":[null]"#, 2, false),
        (r#","size":2,"urls":[null,"http://x"]"#, 2, true),
    ] {
        let text = format!(r#"{{"digest":"{digest}","data":"e30="{more}}}"#);
        let read = read_one(&text).expect(more);
        assert_eq!(
            (read.size, read.may_be_elsewhere()),
            (size, elsewhere),
            "{more}"
        );
        assert!(read.inline().is_some(), "{more}");
    }
}

#[test]
fn what_is_wrong_names_the_descriptor_and_its_field() {
    let good = descriptor("");
    let with = |more: &str| format!("[{good},{}]", descriptor(more));
    for (field, value, says) in [
        ("config", "{}".to_owned(), "in config: it has no digest"),
        ("config", "1".to_owned(), "in config: it is no descriptor"),
        ("subject", "{}".to_owned(), "in subject: it has no digest"),
        (
            "subject",
            r#"{"digest":null,"size":2}"#.to_owned(),
            "in subject: it has no digest",
        ),
        (
            "subject",
            r#"{"digest":7}"#.to_owned(),
            "in subject: its digest has the wrong form",
        ),
        (
            "layers",
            format!("[{good},{{}},1]"),
            "in layers[1]: it has no digest",
        ),
        (
            "layers",
            format!("[{good},null]"),
            "in layers[1]: it is no descriptor",
        ),
        (
            "manifests",
            with(r#","mediaType":1"#),
            "in manifests[1]: its mediaType has the wrong form",
        ),
        (
            "manifests",
            with(r#","urls":[1]"#),
            "in manifests[1]: its urls has the wrong form",
        ),
        (
            "blobs",
            with(r#","urls":"x""#),
            "in blobs[1]: its urls has the wrong form",
        ),
        (
            "blobs",
            with(r#","size":2"#),
            "in blobs[1]: it is no descriptor: duplicate field `size`",
        ),
        (
            "layers",
            r#"[{"digest":"x","size":"2"}]"#.to_owned(),
            "in layers[0]: its size has the wrong form",
        ),
        ("layers", "{}".to_owned(), "its layers has the wrong form"),
    ] {
        let json = format!(r#"{{"{field}":{value}}}"#);
        let document = RawManifest::read(json.as_bytes()).expect(&json);
        let error = document.body().expect_err(&json).to_string();
        assert!(error.starts_with(says), "{json}: {error}");
        assert!(!error.contains(" line "), "{error}");
    }
}
