//! A cache of the texts judged in one decision: each is analysed once, however many rules read it.
//! Pure: results depend on the text alone.

use std::cell::OnceCell;

use super::alternate_spellings::AlternateSpellings;
use super::text::Text;

/// Slots per block; the first block needs no allocation.
const SLOTS: usize = 4;
/// Length, in bytes, beyond which texts are worth further blocks.
const LONG: usize = 256;
/// Maximum number of blocks.
const BLOCKS: usize = 32;

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct Texts<'t> {
    slots: [OnceCell<Read<'t>>; SLOTS],
    more: OnceCell<Box<Texts<'t>>>,
}

/// A text and its alternate spellings, computed when needed.
#[derive(Debug)]
pub(super) struct Read<'t> {
    pub(super) text: Text<'t>,
    readings: OnceCell<ReadAs>,
}

/// See [`AlternateSpellings`].
#[derive(Debug)]
struct ReadAs {
    others: Box<[Text<'static>]>,
    names: Box<[Text<'static>]>,
}

impl<'t> Texts<'t> {
    /// Calls `access` with the analysis of `text`. Texts are identified by their address.
    pub(super) fn with<R>(&self, text: &'t str, access: impl FnOnce(&Read<'t>) -> R) -> R {
        let mut block = self;
        for _ in 0..BLOCKS {
            for slot in &block.slots {
                let read = slot.get_or_init(|| Read::new(text));
                if std::ptr::eq(read.text.written(), text) {
                    return access(read);
                }
            }
            if text.len() <= LONG {
                break;
            }
            block = block.more.get_or_init(Box::default);
        }
        access(&Read::new(text))
    }
}

impl<'t> Read<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text: Text::new(text), readings: OnceCell::new() }
    }

    /// Texts with another meaning that it may be taken for.
    pub(super) fn others(&self) -> &[Text<'static>] {
        &self.read_as().others
    }

    /// Other names of the same thing.
    pub(super) fn names(&self) -> &[Text<'static>] {
        &self.read_as().names
    }

    fn read_as(&self) -> &ReadAs {
        self.readings.get_or_init(|| {
            let AlternateSpellings { others, names } = AlternateSpellings::of(self.text.written());
            let texts = |texts: Vec<String>| texts.into_iter().map(Text::owned).collect();
            ReadAs { others: texts(others), names: texts(names) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_analysed_once() {
        let all: Vec<String> =
            (0..40).map(|number| format!("{}/../{number}", "a".repeat(300))).collect();
        let texts = Texts::default();
        let place =
            |text| texts.with(text, |read| (std::ptr::from_ref(read).addr(), read.others().len()));
        let first: Vec<_> = all.iter().map(|text| place(text)).collect();
        let again: Vec<_> = all.iter().map(|text| place(text)).collect();
        assert_eq!(first, again);
        assert!(first.iter().all(|(_, others)| *others == 1), "{first:?}");
    }

    /// Equal texts at another address, and others that begin at the same one, are distinct.
    #[test]
    fn texts_are_not_confused() {
        let text = "/srv/../etc".to_owned();
        let copy = text.clone();
        let parts = [&*text, &*copy, &text[..4], &text[..0], &copy[..0], &text[4..]];
        let texts = Texts::default();
        for part in parts.iter().chain(&parts) {
            texts.with(part, |read| assert_eq!(read.text.written(), *part));
        }
    }

    #[test]
    fn uncached_texts_are_analysed_too() {
        let all: Vec<String> = (0..400).map(|number| format!("{number:0>300}/.././x")).collect();
        let texts = Texts::default();
        for text in all.iter().chain(&all) {
            texts.with(text, |read| assert_eq!(read.text.written(), text));
        }
    }
}
