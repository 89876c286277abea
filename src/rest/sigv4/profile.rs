//! The real credential, from the environment or the file that AWS's own tools use.

use std::collections::BTreeMap;

use aws_credential_types::Credentials;
use zeroize::Zeroizing;

use super::signing::SigningError;

/// Reads the AWS credential from the `AWS_…` variables, else from the credentials file.
///
/// # Errors
/// [`SigningError::NoCredential`].
pub fn credentials() -> Result<Credentials, SigningError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(id), Some(secret)) =
        (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
    {
        return Ok(Credentials::from_keys(id, secret, variable("AWS_SESSION_TOKEN")));
    }
    let file = variable("AWS_SHARED_CREDENTIALS_FILE").map(std::path::PathBuf::from);
    let file = file.or_else(|| Some(etcetera::home_dir().ok()?.join(".aws/credentials")));
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).map(Zeroizing::new);
    let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    text.and_then(|text| in_profile(&text, &profile)).ok_or(SigningError::NoCredential)
}

/// The credential of `profile` in an INI file.
fn in_profile(text: &str, profile: &str) -> Option<Credentials> {
    let mut inside = false;
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = section.trim() == profile;
        } else if inside && let Some((name, value)) = line.split_once('=') {
            values.insert(name.trim(), value.trim());
        }
    }
    let token = values.get("aws_session_token").map(|token| (*token).to_owned());
    Some(Credentials::from_keys(
        *values.get("aws_access_key_id")?,
        *values.get("aws_secret_access_key")?,
        token,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_as_aws_writes_them() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=B\n[other]\naws_access_key_id=C\n";
        assert_eq!(in_profile(text, "default").unwrap().access_key_id(), "A");
        assert!(in_profile(text, "other").is_none() && in_profile(text, "none").is_none());
    }
}
