use super::*;
use proptest::prelude::*;

fn announced(kind: &str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())])
}

fn fields() -> Fields {
    Fields::of(&announced("multipart/form-data; boundary=b")).unwrap()
}

fn whole(form: impl AsRef<[u8]>) -> Result<(), HeadError> {
    check_whole(&announced("multipart/form-data; boundary=b"), form.as_ref())
}

fn form(header: &str) -> String {
    format!("--b\r\n{header}\r\n\r\nDELETE\r\n--b--\r\n")
}

fn is_found(form: &str) {
    assert!(matches!(whole(form), Err(HeadError::Override(_))), "{form:?}: {:?}", whole(form));
    let mut fields = fields();
    let in_pieces = form.as_bytes().chunks(1).try_for_each(|byte| fields.push(byte));
    assert!(in_pieces.is_err(), "{form:?}");
}

#[test]
fn a_field_that_overrides_is_found_however_it_is_written() {
    for header in [
        "Content-Disposition: form-data; name=\"_method\"",
        "content-disposition:form-data;name=_method",
        "CONTENT-DISPOSITION : form-data; NAME = \"_Method\"",
        " Content-Disposition: form-data; name=\"_method\"",
        "Content-Disposition: form-data; name='_method'",
        "Content-Disposition: form-data;\r\n name=\"_method\"",
        "Content-Disposition: form-data;\n\tname=\"_method\"",
        "Content-Disposition: form-data; name=\"_me\r\n thod\"; name=\"_method\"",
        "Content-Disposition: form-data;\r\n\tx=y;\r\n name=_method",
        "Content-Disposition: form-data; name=\"_method\"\r\n x",
        "Content-Disposition: form-data; name=name=_method",
        "Content-Disposition: form-data; filename=\"a\"; name=\"_method\"",
        "Content-Disposition: form-data; name=\"a\"; name=\"_method\"",
        "Content-Disposition: form-data; name=\"_method[]\"",
        "Content-Disposition: form-data; name=\"\\_method\"",
        "Content-Disposition: form-data; name=\"%5Fmethod\"",
        "Content-Disposition: form-data; name=\" _method \"",
        "Content-Disposition: form-data; name=\"_method",
        "Content-Disposition: form-data name=_method",
        "Content-Disposition: form-data; name*=utf-8''_method",
        "Content-Disposition: form-data; name*=utf-8''%5Fmethod",
        "Content-Disposition: form-data; name*0=\"_me\"; name*1=\"thod\"",
        "Content-Disposition: form-data; name=\"=?utf-8?b?X21ldGhvZA==?=\"",
        "Content-Disposition: form-data; name=\"X-HTTP-Method-Override\"",
        "Content-Type: text/plain\rContent-Disposition: form-data; name=\"_method\"",
        "Content-ID: _method",
        "Content-Id: <_method>",
        // Rack 1 finds the header within another, and the name behind any line end.
        "X-A: Content-Disposition: form-data; name=\"_method\"",
        "X-A: Content-ID: _method",
        "Content-Disposition: form-data;\nname=\"_method\"",
        "Content-Disposition: form-data;\r\n\n name=\"_method\"",
        "\r\nX-A: Content-Disposition: form-data; name=_method",
        // PHP goes on with lines that have no colon, and knows no `\r` for a line end.
        "Content-Disposition: form-data; x=\"\r\ny\"; name=\"_method\"",
        "Content-Disposition: form-data; x=\ry:z; name=\"_method\"",
        "Content-Disposition: form-data; name=\"_method\0x\"",
        "Content-Disposition: form-data; name=\"_method\"\r\n\0",
        // busboy leaves white space out, and quotes in the midst.
        "Content-Disposition: form-data; na me=_me thod",
        "Content-Disposition: form-data; \"name\"=_me\"thod\"",
        "Content-Disposition: form-data; x=\"file\"name=_method",
        // Werkzeug takes anything for a language.
        "Content-Disposition: form-data; name*=utf-8'a;b=c'_method",
    ] {
        is_found(&form(header));
    }
    let long = form(&format!("Content-Disposition: {}; name=_method", "x".repeat(MAX_HEADERS)));
    assert!(matches!(whole(long), Err(HeadError::Header(_))));
    assert!(whole("--b\r\nContent-Disposition: form-data; name=_method").is_err());
}

#[test]
fn bodies_of_sdks_and_file_contents_pass() {
    for header in [
        "Content-Disposition: form-data; name=\"file\"; filename=\"_method\"",
        "Content-Disposition: form-data; name=\"file\"; filename*=utf-8''%C3%A9.txt",
        "Content-Disposition: form-data; name=\"method\"",
        "Content-Disposition: form-data; name=\"options\"\r\nContent-Type: application/json",
        "Content-Type: application/json\r\nMIME-Version: 1.0",
        "Content-ID: <b29c5de2-0db4-490b-b421-6a51b598bd22+1>",
        "Content-Disposition: form-data; name*=utf-8''%C3%A9; filename=\"a.txt\"",
        "Content-Disposition: form-data; name=\"http_method\"",
    ] {
        assert_eq!(whole(form(header)), Ok(()), "{header}");
    }
    for file in [
        "<input name=\"_method\" value=\"delete\">",
        "text\r\nname=\"_method\"\r\n",
        "see Content-Disposition: form-data; name=\"_method\"",
        "\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\n",
        "-\r\n--\r\n--a\r\nX: name=_method",
        "contentless\ncontent\n",
    ] {
        let form = form(&format!("Content-Disposition: form-data; name=\"f\"\r\n\r\n{file}"));
        assert_eq!(whole(form), Ok(()), "{file}");
    }
}

#[test]
fn a_part_begins_wherever_somebody_sees_a_boundary() {
    let override_field = "\r\nContent-Disposition: form-data; name=_method\r\n\r\nDELETE--b--";
    for before in
        ["--b", "x--b", "--b--b", "--b\r\n\r\n--b", "--b--\r\n--b", "--b\r\nA: b\r\n--b\r\n"]
    {
        is_found(&format!("{before}{override_field}"));
    }
    // Line ends that only some take for such.
    for form in [
        "--b\rContent-Disposition: form-data; name=_method\r\rDELETE\r--b--\r",
        "--b\r\nContent-Disposition: form-data; name=_method\n\nDELETE\r\n--b--",
    ] {
        is_found(form);
    }
    let feeds = form("Content-Disposition: form-data; name=a").replace('\r', "");
    assert!(matches!(whole(&feeds), Err(HeadError::Header(_))));
    // Google's library for Python ends its lines so.
    let related = announced("multipart/related; boundary=\"===============12==\"");
    let parts = |named: &str| {
        let begin = "--===============12==\nContent-Type: application/json";
        format!("{begin}\n\n{{}}\n{begin}{named}\n\n{}", "a\nname=_method\n".repeat(2_000))
    };
    assert_eq!(check_whole(&related, parts("").as_bytes()), Ok(()));
    assert!(check_whole(&related, parts("; name=_method").as_bytes()).is_err());
}

#[test]
fn a_boundary_is_the_same_to_everybody_or_none() {
    for (kind, plain) in [
        ("multipart/form-data; boundary=----WebKitFormBoundaryAbC", "----WebKitFormBoundaryAbC"),
        ("multipart/form-data;boundary=\"a-b\"; charset=utf-8", "a-b"),
        ("Multipart/Form-Data; charset=utf-8; Boundary=a ", "a"),
        ("multipart/related; boundary=\"===============12==\"", "===============12=="),
    ] {
        assert_eq!(boundary(kind), Some(plain), "{kind}");
    }
    for kind in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a; boundary*=utf-8''b",
        "multipart/form-data; xboundary=a; boundary=b",
        "multipart/form-data; x=boundary; boundary=b",
        "multipart/form-data; boundary=\"aboundary=b\"",
        "multipart/form-data; boundary =a",
        "multipart/form-data boundary=a",
        "multipart/form-data; boundary=a,b",
        "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary=\'a\'",
        "multipart/form-data; boundary=a=b",
        "multipart/form-data; boundary=\"a\\b\"",
        "multipart/form-data; boundary=\"a",
        "multipart/form-data; boundary=\"a\"b",
    ] {
        assert_eq!(boundary(kind), None, "{kind}");
    }
}

proptest! {
    #[test]
    fn cuts_make_no_difference(
        parts in prop::collection::vec(
            r#"(--b|-|\r\n--b\r\n|Content-Disposition:|Content-ID:|;name=|"?_method"|\r\n?|\n|[ \t:;a"])"#,
            0..20,
        ),
        cuts in prop::collection::vec(0..120_usize, 0..4),
    ) {
        let form = parts.concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(form.len())).collect();
        cuts.extend([0, form.len()]);
        cuts.sort_unstable();
        let mut parted = fields();
        let bytes = form.as_bytes();
        let parted = cuts.windows(2).try_for_each(|cut| parted.push(&bytes[cut[0]..cut[1]]));
        prop_assert_eq!(parted, fields().push(bytes));
    }
}
