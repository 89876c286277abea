//! The policies bundled with the program, so that `--policy read_only` works wherever it is
//! installed.

/// Includes policy files by name, in the order of listings.
macro_rules! bundle {
    ($($name:literal),+ $(,)?) => {
        /// Names and texts of the bundled policies.
        pub const BUNDLED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../policies/", $name, ".yaml")))),+];
    };
}

bundle![
    "default",
    "readwrite",
    "read_only",
    "rate_limited",
    "google_readonly",
    "microsoft_readonly",
    "microsoft_readwrite",
    "slack_readonly",
    "github_readonly",
    "jira_readonly",
    "notion_readonly",
    "linear_readonly",
    "hubspot_readonly",
    "salesforce_readonly",
    "aws_readonly",
    "filesystem",
    "git",
    "github_mcp",
    "playwright",
    "sqlite",
    "memory",
];

/// The text of a bundled policy.
#[must_use]
pub fn bundled(name: &str) -> Option<&'static str> {
    BUNDLED.iter().find(|(bundled, _)| *bundled == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_bundled_under_its_own_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap().to_owned();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = bundled(&name).unwrap_or_else(|| panic!("{name} is not bundled"));
                assert!(text.starts_with(&format!("name: {name}\n")), "{name}");
                files += 1;
            }
        }
        assert_eq!(files, BUNDLED.len());
    }
}
