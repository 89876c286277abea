//! Revocation: a stream ends once the key that opened it is removed or rotated.

use futures_util::{StreamExt as _, stream};
use http::Response;
use http_body::Body as _;
use tokio::time::{MissedTickBehavior, interval};

use crate::net::Body;
use crate::store::directory::POLL_INTERVAL;

/// Ends the body of a response once `holds` returns `false`, which is checked before each
/// piece, and every [`POLL_INTERVAL`] while there is none.
pub(super) fn until_revoked(
    response: Response<Body>,
    holds: impl Fn() -> bool + Send + 'static,
) -> Response<Body> {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    let mut looks = interval(POLL_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    response.map(|body| {
        let open = (body.into_data_stream(), looks, holds);
        Body::from_stream(stream::unfold(open, |(mut body, mut looks, holds)| async move {
            let piece = loop {
                tokio::select! {
                    piece = body.next() => break piece?,
                    _ = looks.tick() => {}
                }
                if !holds() {
                    return None;
                }
            };
            holds().then_some((piece, (body, looks, holds)))
        }))
    })
}
