//! What English words say about the effect of an operation that is named by them.
//!
//! The lists are grouped by meaning, not sorted: they are meant to be read and
//! added to. A word that reads in one product and writes in another (`resolve`,
//! `open`, `verify`) is not a reading one. Words of more than [`LONGEST`]
//! letters need no place here: no verb of an API is that long.

use std::sync::LazyLock;

use super::Intent;

/// The grammatical role of a word in an operation's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A verb that only reads.
    Reads(Intent),
    /// A verb that writes, in any position.
    Writes(Intent),
    /// A verb that writes, or a noun of the same spelling (`comment`, `release`), depending on
    /// its position.
    Either(Intent),
    /// As `Either`, but a noun before a reading verb at the end of the name (`comment_get`,
    /// `email_search`).
    Entity(Intent),
    /// As `Writes`, but the name of a process in a question about it (`get_deploy_status`).
    Process(Intent),
    /// A noun that implies reading (`history`, `status`).
    Shows,
    /// A noun for permissions: writing it is administration.
    Rights,
    /// Joins two verbs (`and`).
    Joins,
    /// Starts a qualification (`by`, `from`).
    Qualifies,
    /// Any other word, treated as a noun.
    Noun,
}

impl Role {
    /// The intent of a verb that writes in any position, apart from questions about a process.
    pub(super) fn writes(self) -> Option<Intent> {
        match self {
            Self::Writes(intent) | Self::Process(intent) => Some(intent),
            _ => None,
        }
    }
}

/// The role of `word`, ignoring case and trailing digits.
pub(super) fn role(word: &str) -> Role {
    let letters = without_digits(word);
    let glued_to = || GLUED.iter().find(|(verb, _)| glued(letters, verb));
    Key::of(letters)
        .and_then(find)
        .or_else(|| glued_to().map(|(_, intent)| Role::Writes(*intent)))
        .or_else(|| derived(letters))
        .unwrap_or(Role::Noun)
}

fn without_digits(word: &str) -> &str {
    word.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// Whether `word` is formed like a verb (`vaporize`, `ratify`, `annihilate`), known or not.
pub(super) fn is_formed_as_verb(word: &str) -> bool {
    let word = without_digits(word).to_ascii_lowercase();
    let is_one_of = |nouns: &str| nouns.split_ascii_whitespace().any(|noun| noun == word);
    match word.get(word.len().saturating_sub(3)..) {
        Some("ize") => !word.ends_with("size") && !word.ends_with("prize"),
        Some("ify") => !is_one_of(NAMES_IN_IFY),
        Some("ate") => word.len() >= 7 && !word.ends_with("mate") && !is_one_of(NOUNS_IN_ATE),
        _ => false,
    }
}

/// Products whose names are formed like verbs.
const NAMES_IN_IFY: &str = "amplify apify coolify netlify shopify spotify";

/// Nouns and adjectives of at least seven letters that are formed like verbs. Those in `mate`
/// (`climate`) are exceptions, too: few verbs are among them.
const NOUNS_IN_ATE: &str = "accurate adequate affiliate aggregate alternate animate appropriate
     associate candidate carbonate certificate chocolate cognate collegiate corporate coordinate
     delegate deliberate directorate doctorate electorate elaborate graduate immediate inaccurate
     interstate intermediate laureate literate magistrate mandate moderate nitrate ordinate
     particulate phosphate postgraduate predicate private proximate secretariate separate silicate
     subordinate substrate sulfate surrogate syndicate template triplicate undergraduate uptate
     vertebrate";

/// Whether `word` is what one asks about a process (`status`, `history`, `logs`).
pub(super) fn is_aspect(word: &str) -> bool {
    const ASPECTS: [&str; 16] = [
        "status",
        "statuses",
        "state",
        "progress",
        "history",
        "log",
        "logs",
        "info",
        "information",
        "details",
        "metrics",
        "stats",
        "statistics",
        "summary",
        "health",
        "eta",
    ];
    ASPECTS.iter().any(|aspect| word.eq_ignore_ascii_case(aspect))
}

/// Verbs in operation names are in their base form, so a word with a plural ending is a noun.
pub(super) fn is_plural(word: &str) -> bool {
    let word = word.as_bytes();
    word.ends_with(b"s") && !word.ends_with(b"ss")
}

/// Prefixes that make another writing verb of one, also of one that may be a noun by itself.
const PREFIXES: [&str; 4] = ["re", "un", "de", "dis"];

/// The role of a verb that is derived from a known one (`unapprove`, `reprocess`).
fn derived(word: &str) -> Option<Role> {
    let mut of_base = PREFIXES.iter().filter_map(|prefix| {
        let (start, base) = word.split_at_checked(prefix.len())?;
        let is_derived = start.eq_ignore_ascii_case(prefix) && base.len() >= 3 && !is_plural(base);
        is_derived.then(|| Key::of(base).and_then(find)).flatten()
    });
    of_base.find_map(|base| match base {
        Role::Writes(intent)
        | Role::Process(intent)
        | Role::Either(intent)
        | Role::Entity(intent) => Some(Role::Writes(intent)),
        _ => None,
    })
}

/// Whether the lexicon contains `run` as a whole, ignoring case.
pub(super) fn knows(run: &str) -> bool {
    Key::of(run).and_then(find).is_some()
}

/// Verbs that are recognised even with a noun or adverb attached (`deletefile`, `harddelete`).
const GLUED: [(&str, Intent); 6] = [
    ("delete", Intent::Delete),
    ("remove", Intent::Delete),
    ("destroy", Intent::Delete),
    ("create", Intent::Create),
    ("update", Intent::Update),
    ("execute", Intent::Execute),
];

/// Whether `word` starts or ends with `verb` and is not its participle or agent noun (`deleted`,
/// `updater`).
fn glued(word: &str, verb: &str) -> bool {
    let end = word.len().checked_sub(verb.len()).and_then(|at| word.get(at..));
    if end.is_some_and(|end| end.eq_ignore_ascii_case(verb)) {
        return true;
    }
    let Some((start, rest)) = word.split_at_checked(verb.len()) else { return false };
    start.eq_ignore_ascii_case(verb)
        && !["d", "r", "rs", "s"].iter().any(|ending| rest.eq_ignore_ascii_case(ending))
}

/// Maximum length of a word in the lexicon, in letters.
const LONGEST: usize = 16;

/// A word of up to [`LONGEST`] lower-case letters packed into an integer, for fast comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u128);

impl Key {
    fn of(letters: &str) -> Option<Self> {
        let pack = |key, letter: u8| key << 8 | u128::from(letter.to_ascii_lowercase());
        (letters.len() <= LONGEST).then(|| Self(letters.bytes().fold(0, pack)))
    }
}

fn find(key: Key) -> Option<Role> {
    let at = LEXICON.binary_search_by_key(&key, |(key, _)| *key).ok()?;
    LEXICON.get(at).map(|(_, role)| *role)
}

static LEXICON: LazyLock<Vec<(Key, Role)>> = LazyLock::new(|| {
    let keyed = |(word, role)| Some((Key::of(word)?, role));
    let mut all: Vec<_> = entries().filter_map(keyed).collect();
    all.sort_unstable_by_key(|(key, _)| *key);
    all
});

fn entries() -> impl Iterator<Item = (&'static str, Role)> {
    let words = |(role, group): &(Role, &'static str)| {
        let role = *role;
        group.split_ascii_whitespace().map(move |word| (word, role))
    };
    GROUPS.iter().flat_map(words)
}

const GROUPS: [(Role, &str); 28] = [
    (
        Role::Reads(Intent::Read),
        "get list lists ls read reads fetch fetches show shows view describe find finds lookup
         retrieve browse inspect explain preview peek enumerate discover explore observe see
         check count compare diff detect identify validate lint analyze analyse calculate
         compute estimate measure suggest recommend summarize summarise translate parse is has
         have exists can wait think echo stat",
    ),
    (Role::Reads(Intent::Query), "search searches query queries filter grep"),
    (
        Role::Shows,
        "history info information status details stats statistics metadata schema version
         versions overview summary tree contents unreads replies screenshot whoami health help
         ping",
    ),
    (
        Role::Rights,
        "permission permissions role roles acl acls privilege privileges restriction
         restrictions iam collaborator collaborators password passwords credential credentials",
    ),
    (Role::Joins, "and or then"),
    (Role::Qualifies, "by from for in of with without within on at as to into via per using"),
    (
        Role::Writes(Intent::Create),
        "add append create creates insert make generate instantiate prepend compose reserve
         mint allocate scaffold",
    ),
    (
        Role::Either(Intent::Create),
        "duplicate adds build fork copy backup vote checkpoint index imports uploads new
         register import upload book",
    ),
    (
        Role::Writes(Intent::Update),
        "update edit modify write writes replace rename move upsert put save assign unassign
         mark unmark enable disable configure reconfigure customize activate deactivate attach
         detach associate disassociate bind unbind unarchive undo redo revert reopen reschedule
         resize rotate reorder reprioritize prioritize reset switch toggle subscribe
         unsubscribe unfollow mute unmute unpin unstar unlink unlock unwatch setup amend adjust
         alter convert push stage unstage stash checkout checkin tune transform override
         overwrite populate refresh reload regenerate renew extend shrink increase decrease
         increment decrement join leave accept reject decline dismiss protect acknowledge finish
         finalize finalise confirm unblock withdraw pay sell spend snooze hide unhide escalate
         normalize optimize bump encrypt decrypt compress decompress zip unzip ingest seed
         react unreact annotate upvote downvote touch mkdir chdir cd verify clobber scrub
         nullify enqueue dequeue ack nack mutate",
    ),
    (
        Role::Either(Intent::Update),
        "set sets updates change changes lock pin star watch like archive schedule transition
         close open resolve claim sort format triage map track monitor log cache queue score
         rate rank split select focus hover drag load pull patches sign fix pause order block
         flag store charge refund transfer purchase patch install extract complete follow swap
         buy recall discharge",
    ),
    (
        Role::Writes(Intent::Delete),
        "delete deletes remove removes destroy drop purge erase wipe clear clean cleanup
         truncate uninstall unregister deregister retire discard expunge evict expire prune unpublish
         rm rmdir del unset void cancel terminate decommission deprovision flush nuke
         obliterate eradicate shred zap",
    ),
    (Role::Either(Intent::Delete), "trash cut empty"),
    (
        Role::Writes(Intent::Send),
        "send sends resend reply publish republish broadcast notify reinvite submit dispatch
         announce deliver tweet retweet crosspost emit",
    ),
    (Role::Either(Intent::Send), "call dial text remind invite share forward"),
    (
        Role::Writes(Intent::Execute),
        "eval evaluate relaunch spawn kill abort doubleclick keypress navigate goto visit
         scroll perform do compile interrupt hibernate wake retry replay orchestrate automate
         delegate inject poweroff poweron",
    ),
    (
        Role::Either(Intent::Execute),
        "test tests shell scan audit train benchmark debug crawl scrape process hook handle
         control run runs trigger start stop type click press boot fire launch",
    ),
    (
        Role::Writes(Intent::Admin),
        "grant revoke authorize authorise deauthorize permit ban unban promote demote
         impersonate elevate chmod chown login logout signin signout signup authenticate kick
         deny allow whitelist blacklist allowlist blocklist trust untrust entitle assume",
    ),
    (
        Role::Entity(Intent::Create),
        "comment label tag branch commit report snapshot link bookmark note remark record draft",
    ),
    (Role::Entity(Intent::Update), "request review"),
    (Role::Entity(Intent::Send), "post posts email mail message contact alert page"),
    (Role::Entity(Intent::Execute), "task job script command"),
    (
        Role::Process(Intent::Create),
        "provision clone bootstrap init initialize initialise",
    ),
    (
        Role::Process(Intent::Update),
        "sync synchronize synchronise resync merge rebase migrate connect disconnect enroll
         restore rollback upgrade downgrade reindex apply approve",
    ),
    (
        Role::Process(Intent::Execute),
        "execute exec invoke rerun restart resume deploy redeploy undeploy reboot shutdown
         simulate retrain suspend",
    ),
    (
        Role::Writes(Intent::Unknown),
        "manage act proxy tamper hijack intercept spoof forge exploit bypass attack leak exfil
         exfiltrate",
    ),
    // Derived from a verb by their form only.
    (Role::Noun, "design resort disorder"),
    // Verbs that are hardly ever nouns. What they do depends on the product.
    (
        Role::Writes(Intent::Unknown),
        "abolish absorb acquire adopt advertise align allot appoint assemble awaken banish
         befall bestow borrow bring broaden bury choose cleanse commandeer commence compel
         concoct confer confine conquer construct consume contain convene convey cram curtail
         defer defraud defrag defrost demolish deplete deprive destruct deter devour diminish disarm
         disassemble disband disburse discontinue disengage dismantle disown dispense disperse
         displace dispose disrupt dissolve distribute divert divest eject embark embezzle
         employ empower enact encase enclose endorse enforce engrave enlarge enlist enrich
         ensure entrust erode etch expel expend expose extinguish extort fasten flatten forbid
         foreclose forget forgive fulfil fulfill furnish give grab harden hasten heighten impair
         impede impose infect inflict infuse inscribe insist instal instruct interject
         introduce invade jettison kidnap lend lengthen lessen loosen lose mangle minify
         mislead obstruct oust overtake overthrow overwhelm pilfer plunder pop postpone
         prescribe procure prolong promulgate propel provoke pry punish quash quell quench
         ransack reap reclaim reconcile reconstruct recoup recover redeem reduce refuse
         reimburse relinquish remit repeal repel repossess rescind respond retract rid seize
         sever sharpen shatter shorten shove siphon smash smuggle snatch soften solicit steal
         stifle stow straighten strengthen subdue submerge subtract summon supersede suppress
         surrender swallow sweep tighten topple transmit unleash unpack unravel unshift unveil unwrap
         usurp vanquish waive weaken widen wield withhold wreck yank",
    ),
    (Role::Either(Intent::Unknown), "export exports download downloads dump print"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lexicon_has_each_word_once() {
        let mut seen = std::collections::HashSet::new();
        for (word, _) in entries() {
            assert!(Key::of(word).is_some(), "`{word}` is too long");
            assert!(seen.insert(word), "`{word}` stands twice");
        }
    }

    #[test]
    fn case_and_digits_do_not_hide_a_verb() {
        for word in ["delete", "DELETE", "Delete2", "deletefile", "DeleteEverythingInThere"] {
            assert_eq!(role(word), Role::Writes(Intent::Delete), "{word}");
        }
        for noun in ["deleted", "updater", "creation", "executor", "address", "settings", ""] {
            assert_eq!(role(noun), Role::Noun, "{noun}");
        }
    }
}
