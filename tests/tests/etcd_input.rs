//! Wrong and hostile requests get a status, and the server goes on; users and their permissions.

use kvwatch_etcd::wire::etcdserverpb::{
    AuthenticateRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest, request_op::Request,
};
use kvwatch_etcd::{Access, KeyRange, RequestError, User};
use kvwatch_tests::etcd::{Client, Local};
use tonic::{Code, Status};

async fn local() -> (Local, Client) {
    let local = Local::start(1000, |builder| builder).await;
    let client = local.client().await;
    (local, client)
}

fn assert_is(error: RequestError, status: &Status) {
    assert_eq!(
        (status.code(), status.message()),
        (error.code(), error.message())
    );
}

fn operation(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

fn txn(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest {
        success,
        ..TxnRequest::default()
    }
}

#[tokio::test]
async fn requests_that_crash_etcd_are_refused() {
    let (_local, client) = local().await;
    client.put("a", "1").await.unwrap();
    let unsortable = RangeRequest {
        key: "a".into(),
        range_end: "\0".into(),
        sort_target: 77,
        ..RangeRequest::default()
    };
    let refused = client.kv().range(unsortable).await.unwrap_err();
    assert_is(RequestError::InvalidSortOption, &refused);
    let delete = DeleteRangeRequest {
        key: "a".into(),
        range_end: "\0".into(),
        ..DeleteRangeRequest::default()
    };
    let put = PutRequest {
        key: "a".into(),
        ignore_value: true,
        ..PutRequest::default()
    };
    let both = txn(vec![
        operation(Request::RequestDeleteRange(delete)),
        operation(Request::RequestPut(put)),
    ]);
    assert_is(
        RequestError::DuplicateKey,
        &client.kv().txn(both).await.unwrap_err(),
    );
    assert_eq!(client.revision().await.unwrap(), 2);
}

/// A store keeps one version of a key for each revision, so no transaction may change a key twice.
/// etcd checks all of these since 3.4.28.
#[tokio::test]
async fn transaction_that_may_change_a_key_twice_is_refused_in_every_shape() {
    let (_local, client) = local().await;
    client.put("a", "1").await.unwrap();
    let put = |key: &'static str| {
        operation(Request::RequestPut(PutRequest {
            key: key.into(),
            ..PutRequest::default()
        }))
    };
    let delete = |key: &'static str, range_end: &'static str| {
        operation(Request::RequestDeleteRange(DeleteRangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..DeleteRangeRequest::default()
        }))
    };
    let nested = |success: Vec<RequestOp>, failure: Vec<RequestOp>| {
        operation(Request::RequestTxn(TxnRequest {
            success,
            failure,
            ..TxnRequest::default()
        }))
    };
    let then = |one: RequestOp| nested(vec![one], vec![]);
    let otherwise = |one: RequestOp| nested(vec![], vec![one]);
    let twice = [
        vec![put("a"), put("a")],
        vec![put("a"), delete("a", "")],
        vec![delete("a", ""), put("a")],
        vec![delete("a", "c"), put("b")],
        vec![put("a"), then(put("a"))],
        vec![put("a"), then(delete("a", ""))],
        vec![then(delete("a", "")), put("a")],
        vec![then(put("a")), delete("a", "c")],
        vec![then(put("a")), then(put("a"))],
        vec![then(put("a")), then(delete("a", "")), put("b")],
        vec![then(put("a")), otherwise(delete("a", ""))],
        vec![otherwise(put("b")), then(delete("a", "c"))],
        vec![then(delete("a", "")), then(put("a"))],
        vec![then(then(put("a"))), then(then(delete("a", "")))],
        vec![nested(vec![then(put("a")), then(delete("a", ""))], vec![])],
        vec![nested(
            vec![],
            vec![then(put("a")), then(delete("\0", "\0"))],
        )],
    ];
    for operations in twice {
        let failing = TxnRequest {
            failure: operations.clone(),
            ..TxnRequest::default()
        };
        for transaction in [txn(operations.clone()), failing] {
            let refused = client.kv().txn(transaction).await.unwrap_err();
            assert_is(RequestError::DuplicateKey, &refused);
        }
    }
    assert_eq!(client.revision().await.unwrap(), 2, "nothing was written");
    let once = [
        vec![nested(vec![put("a")], vec![put("a")])],
        vec![nested(vec![put("a")], vec![delete("a", "")])],
        vec![delete("a", ""), delete("a", "c"), put("c")],
        vec![then(delete("a", "")), then(delete("a", ""))],
        vec![then(put("a")), then(delete("b", ""))],
    ];
    for operations in once {
        client.kv().txn(txn(operations)).await.unwrap();
    }
}

#[tokio::test]
async fn requests_beyond_the_limits_are_refused() {
    let (_local, client) = local().await;
    let put = |bytes: usize| PutRequest {
        key: "a".into(),
        value: vec![0; bytes].into(),
        ..PutRequest::default()
    };
    client.kv().put(put(1024 * 1024)).await.unwrap();
    let large = client.kv().put(put(1536 * 1024)).await.unwrap_err();
    assert_is(RequestError::RequestTooLarge, &large);
    let larger = client.kv().put(put(3 * 1024 * 1024)).await.unwrap_err();
    assert_eq!(larger.code(), Code::OutOfRange);
    let get = || {
        operation(Request::RequestRange(RangeRequest {
            key: "a".into(),
            ..RangeRequest::default()
        }))
    };
    let wide = txn((0..129).map(|_| get()).collect());
    assert_is(
        RequestError::TooManyOperations,
        &client.kv().txn(wide).await.unwrap_err(),
    );
    let mut deep = txn(vec![get()]);
    for _ in 0..40 {
        deep = txn(vec![operation(Request::RequestTxn(deep))]);
    }
    assert_is(
        RequestError::TooManyOperations,
        &client.kv().txn(deep.clone()).await.unwrap_err(),
    );
    for _ in 0..2000 {
        deep = txn(vec![operation(Request::RequestTxn(deep))]);
    }
    // Nested deeper than protobuf decodes.
    client.kv().txn(deep).await.unwrap_err();
    assert_eq!(client.revision().await.unwrap(), 2);
}

#[tokio::test]
async fn extreme_numbers_are_answered() {
    let (_local, client) = local().await;
    client.put("a", "1").await.unwrap();
    for number in [i64::MIN, -1, 0, 1, i64::MAX] {
        let request = RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            limit: number,
            revision: number,
            min_mod_revision: number,
            max_create_revision: number,
            ..RangeRequest::default()
        };
        drop(client.kv().range(request).await);
        let mut stream = client.watch().await.unwrap();
        stream.create(WatchCreateRequest {
            key: "a".into(),
            start_revision: number,
            watch_id: number,
            filters: vec![5, -1],
            ..WatchCreateRequest::default()
        });
        assert!(stream.next().await.unwrap().created);
        stream.cancel(number);
    }
    assert_eq!(client.revision().await.unwrap(), 2);
}

#[tokio::test]
async fn keys_are_accessible_only_to_users_with_permission() {
    let app = || KeyRange::from_wire("app/", "app0");
    let reader = User::new("reader", "r").allow(Access::Read, app());
    let root = User::new("root", "secret").allow_all();
    let local = Local::start(1000, |builder| builder.user(reader).user(root)).await;
    let client = local.client().await;
    let log_in = async |name: &str, password: &str| {
        let request = AuthenticateRequest {
            name: name.to_owned(),
            password: password.to_owned(),
        };
        client
            .auth()
            .authenticate(request)
            .await
            .map(|answer| answer.into_inner().token)
    };
    assert_is(
        RequestError::AuthFailed,
        &log_in("reader", "x").await.unwrap_err(),
    );
    assert_is(
        RequestError::AuthFailed,
        &log_in("unknown", "r").await.unwrap_err(),
    );
    let token = log_in("reader", "r").await.unwrap();
    let range = async |token: Option<&str>, key: &'static str, range_end: &'static str| {
        let mut request = tonic::Request::new(RangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..RangeRequest::default()
        });
        if let Some(token) = token {
            request
                .metadata_mut()
                .insert("token", token.parse().unwrap());
        }
        client.kv().range(request).await
    };
    assert_is(
        RequestError::UserEmpty,
        &range(None, "app/a", "").await.unwrap_err(),
    );
    assert_is(
        RequestError::InvalidToken,
        &range(Some("made up"), "app/a", "").await.unwrap_err(),
    );
    for (key, range_end, allowed) in [
        ("app/a", "", true),
        ("app/", "app0", true),
        ("app/a", "app/b", true),
        // All keys from this one on, although the end as a key would be within the permission.
        ("app/a", "\0", false),
        ("\0", "\0", false),
        ("app/", "app1", false),
        ("app", "", false),
    ] {
        match range(Some(&token), key, range_end).await {
            Ok(_) => assert!(allowed, "{key} {range_end}"),
            Err(status) => {
                assert!(!allowed, "{key} {range_end}");
                assert_is(RequestError::PermissionDenied, &status);
            }
        }
    }
    let mut put = tonic::Request::new(PutRequest {
        key: "app/a".into(),
        ..PutRequest::default()
    });
    put.metadata_mut().insert("token", token.parse().unwrap());
    assert_is(
        RequestError::PermissionDenied,
        &client.kv().put(put).await.unwrap_err(),
    );
}
