use super::*;
use crate::mcp::http::fixture::relays;

#[tokio::test(start_paused = true)]
async fn children_per_principal_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    let begin = relays(folder.path(), "allow_all");
    let limits = Limits { max_message: 1 << 20, children: 4, each: 2, idle: Duration::ZERO };
    let children = Children::new(&[], limits, |_| unreachable!());
    let (one, other, third): (Arc<str>, Arc<str>, Arc<str>) =
        ("one".into(), "other".into(), "third".into());
    let (input, _relay) = tokio::io::duplex(1);
    let idle = Session::new(Arc::clone(&other), begin(), false, (input, Ready::at_once()));
    children.open().insert(Key::Session(Direction::Unbridged, "idle".to_owned()), idle);
    let [first, second] = [children.acquire(&one).await, children.acquire(&one).await];
    assert!(first.is_some() && second.is_some());
    assert!(children.acquire(&one).await.is_none(), "it has its share");
    assert_eq!(children.open().len(), 1, "for that, no session of another's ends");
    let bridged = children.bridged(Bridge::Up);
    assert!(bridged.acquire(&one).await.is_none(), "whichever way it speaks");
    let others = [bridged.acquire(&other).await, children.acquire(&other).await];
    assert!(others.iter().all(Option::is_some));
    assert!(children.acquire(&third).await.is_none(), "there are four in all");
    assert_eq!(children.open().len(), 0, "an idle one was evicted");
    drop(first);
    assert!(children.acquire(&one).await.is_some());
    drop((second, others));
    let _permits = children.acquire(&third).await.unwrap();
    assert_eq!(children.shares.semaphores.lock().unwrap().len(), 1, "who has none is forgotten");
}
