//! Ids of several clients on one child. Each client numbers its requests from 0, so a request gets
//! an id assigned by the gate before it is judged, and its response gets the client's back. Nothing
//! else of a message changes. Pure.

use std::ops::Range;

use bytes::Bytes;

use crate::json::{JsonError, Reader};
use crate::mcp::era;

/// The member of `_meta` with the id of a notification's subscription (2026-07-28).
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// A member of a message that contains an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdField {
    /// `id`.
    Id,
    /// `progressToken` of a request or notification.
    ProgressToken,
    /// Id of the subscription that a notification or result belongs to.
    SubscriptionId,
    /// `requestId` of a cancellation.
    RequestId,
}

/// The positions of ids in one message, ascending.
#[derive(Debug, Default)]
pub(super) struct IdFields(Vec<(IdField, Range<usize>)>);

impl IdFields {
    /// Finds the ids of `message`; none if it is not unambiguous.
    pub(super) fn of(message: &[u8]) -> Self {
        let mut found = Vec::new();
        let read = Reader::new(message).and_then(|mut reader| {
            reader.object(|reader, key| match key {
                "id" => add_range(reader, IdField::Id, message, &mut found),
                "params" | "result" if reader.at_object()? => {
                    inside(reader, key == "params", message, &mut found)
                }
                _ => reader.raw().map(drop),
            })?;
            reader.finish()
        });
        Self(if read.is_ok() { found } else { Vec::new() })
    }

    /// The first id in this field.
    pub(super) fn get<'m>(&self, message: &'m [u8], field: IdField) -> Option<&'m [u8]> {
        let (_, range) = self.0.iter().find(|(found, _)| *found == field)?;
        message.get(range.clone())
    }

    /// Replaces the ids for which `with` returns others.
    pub(super) fn replaced<'w>(
        &self,
        message: &Bytes,
        with: impl Fn(IdField) -> Option<&'w [u8]>,
    ) -> Bytes {
        let mut out = Vec::with_capacity(message.len() + 32);
        let mut copied = 0;
        for (field, range) in &self.0 {
            let Some(new) = with(*field) else { continue };
            out.extend_from_slice(message.get(copied..range.start).unwrap_or_default());
            out.extend_from_slice(new);
            copied = range.end;
        }
        out.extend_from_slice(message.get(copied..).unwrap_or_default());
        out.into()
    }
}

/// Raw ids of a batch's elements.
pub(super) fn of_elements(batch: &[u8]) -> Vec<Vec<u8>> {
    let mut ids = Vec::new();
    let read = Reader::new(batch).and_then(|mut reader| {
        reader.array(|reader| {
            let element = reader.raw()?;
            let fields = IdFields::of(element);
            ids.extend(fields.get(element, IdField::Id).map(<[u8]>::to_vec));
            Ok::<_, JsonError>(())
        })
    });
    if read.is_ok() { ids } else { Vec::new() }
}

fn inside(
    reader: &mut Reader<'_>,
    params: bool,
    message: &[u8],
    found: &mut Vec<(IdField, Range<usize>)>,
) -> Result<(), JsonError> {
    reader.object(|reader, key| match key {
        "progressToken" if params => add_range(reader, IdField::ProgressToken, message, found),
        "requestId" if params => add_range(reader, IdField::RequestId, message, found),
        era::META if reader.at_object()? => reader.object(|reader, key| match key {
            "progressToken" => add_range(reader, IdField::ProgressToken, message, found),
            SUBSCRIPTION => add_range(reader, IdField::SubscriptionId, message, found),
            _ => reader.raw().map(drop),
        }),
        _ => reader.raw().map(drop),
    })
}

fn add_range(
    reader: &mut Reader<'_>,
    field: IdField,
    message: &[u8],
    found: &mut Vec<(IdField, Range<usize>)>,
) -> Result<(), JsonError> {
    let raw = reader.raw()?;
    // Both slices are of one buffer, so their distance is the offset.
    let start = (raw.as_ptr() as usize).saturating_sub(message.as_ptr() as usize);
    found.push((field, start..start + raw.len()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_found_and_nothing_else_is_touched() {
        let message = Bytes::from_static(
            br#"{ "jsonrpc":"2.0","params":{"arguments":{"id":7,"progressToken":7},
                "_meta":{"progressToken": "a" ,"x":1.0}} ,"id": 7 , "method":"tools/call"}"#,
        );
        let fields = IdFields::of(&message);
        assert_eq!(fields.get(&message, IdField::Id), Some(&b"7"[..]));
        assert_eq!(fields.get(&message, IdField::ProgressToken), Some(&b"\"a\""[..]));
        let out = fields.replaced(&message, |field| match field {
            IdField::Id => Some(b"123"),
            IdField::ProgressToken => Some(b"456"),
            _ => None,
        });
        let expected = String::from_utf8(message.to_vec()).unwrap();
        let expected = expected.replace(r#""id": 7"#, r#""id": 123"#).replace(r#""a""#, "456");
        assert_eq!(out, expected);
    }

    #[test]
    fn notifications_are_matched_to_their_request() {
        let message = br#"{"method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":5}}}"#;
        assert_eq!(IdFields::of(message).get(message, IdField::SubscriptionId), Some(&b"5"[..]));
        let message = br#"{"method":"notifications/progress","params":{"progressToken":5}}"#;
        assert_eq!(IdFields::of(message).get(message, IdField::ProgressToken), Some(&b"5"[..]));
        let message = br#"{"id":1,"result":{"progressToken":5,"requestId":6,"_meta":[]}}"#;
        assert_eq!(IdFields::of(message).get(message, IdField::ProgressToken), None);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_whatever_comes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let message = Bytes::from(bytes);
            prop_assert_eq!(&IdFields::of(&message).replaced(&message, |_| None), &message);
        }

        #[test]
        fn there_and_back_again(id in "[0-9]{1,9}", token in "\"[a-z]{0,9}\"") {
            let text = format!(r#"{{"id":{id},"params":{{"_meta":{{"progressToken":{token}}}}}}}"#);
            let message = Bytes::from(text);
            let swap = |message: &Bytes, id: &[u8], token: &[u8]| {
                IdFields::of(message).replaced(message, |field| match field {
                    IdField::Id => Some(id),
                    IdField::ProgressToken => Some(token),
                    _ => None,
                })
            };
            let there = swap(&message, b"9", b"9");
            prop_assert_eq!(swap(&there, id.as_bytes(), token.as_bytes()), message);
        }
    }
}
