//! Users, tokens and the audit trail.

use legwork_core::TokenId;
use legwork_sealing::token::{PERSONAL, generate, hash_token};
use legwork_store::tokens::{Token, TokenLookup};
use legwork_store::users::{Permission, Permissions, User};

use crate::support::{Bed, at};

on_both!(the_first_user_is_made_once, tokens_are_good_until_they_are_not, the_trail_is_kept);

fn user(name: &str, permissions: &str) -> User {
    User {
        name: name.to_owned(),
        password_hash: "$argon2id$…".to_owned(),
        permissions: permissions.parse().unwrap(),
        created_at: at(0),
    }
}

async fn the_first_user_is_made_once(bed: Bed) {
    assert!(bed.store.has_no_users().await.unwrap());
    assert!(bed.store.create_user(user("admin", "admin")).await.unwrap());
    assert!(!bed.store.create_user(user("admin", "")).await.unwrap());
    assert!(!bed.store.has_no_users().await.unwrap());
    assert_eq!(bed.store.find_user("admin").await.unwrap().unwrap(), user("admin", "admin"));
    assert_eq!(bed.store.find_user("Admin").await.unwrap(), None);
}

async fn tokens_are_good_until_they_are_not(bed: Bed) {
    bed.store.create_user(user("anna", "task#run,task#view")).await.unwrap();
    let text = generate(PERSONAL).unwrap();
    let token = Token {
        id: TokenId::new(),
        owner: "anna".to_owned(),
        note: "ci".to_owned(),
        permissions: Permissions::of(&[Permission::TaskRun, Permission::RunnerEdit]),
        created_at: at(0),
        expires_at: Some(at(100_000)),
        revoked_at: None,
        last_used_at: None,
    };
    bed.store.create_token(token.clone(), hash_token(&text)).await.unwrap();
    let find = |now| bed.store.find_token(hash_token(&text), at(now));
    let TokenLookup::Valid(found) = find(1).await.unwrap() else { panic!("it is good") };
    assert_eq!(found.permissions, Permissions::of(&[Permission::TaskRun]), "no more than its owner may");
    let used = || async { bed.store.token(token.id).await.unwrap().unwrap().last_used_at };
    assert_eq!(used().await, Some(at(1)));
    find(59_000).await.unwrap();
    assert_eq!(used().await, Some(at(1)), "written down once a minute");
    find(61_001).await.unwrap();
    assert_eq!(used().await, Some(at(61_001)));
    assert!(matches!(find(100_000).await.unwrap(), TokenLookup::Expired(_)));
    assert_eq!(bed.store.find_token(hash_token("rpa_x"), at(1)).await.unwrap(), TokenLookup::Unknown);
    assert!(bed.store.revoke_token(token.id, at(5)).await.unwrap());
    assert!(!bed.store.revoke_token(token.id, at(6)).await.unwrap());
    assert!(matches!(find(7).await.unwrap(), TokenLookup::Revoked(_)));
    assert_eq!(bed.store.tokens(Some("anna")).await.unwrap().len(), 1);
    assert!(bed.store.tokens(Some("otto")).await.unwrap().is_empty());
    assert_eq!(bed.store.tokens(None).await.unwrap()[0].revoked_at, Some(at(5)));
}

async fn the_trail_is_kept(bed: Bed) {
    for n in 0..5 {
        bed.store.append_audit("anna", "runner.edit", &format!("runner {}", n % 2), &n.to_string(), at(n)).await.unwrap();
    }
    let details =
        |entries: Vec<legwork_store::audit::AuditEntry>| entries.into_iter().map(|entry| entry.detail).collect::<Vec<_>>();
    let page = bed.store.audit(None, None, 3).await.unwrap();
    let before = page[2].id.clone();
    assert_eq!(details(page), ["4", "3", "2"]);
    assert_eq!(details(bed.store.audit(None, Some(&before), 3).await.unwrap()), ["1", "0"]);
    assert_eq!(details(bed.store.audit(Some("runner 1"), None, 3).await.unwrap()), ["3", "1"]);
}
