//! The crate etcd-client against the server at the given address: KV, Watch and Lease.

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, EventType, GetOptions, LeaseGrantOptions,
    PutOptions, SortOrder, SortTarget, Txn, TxnOp, WatchOptions,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).expect("the server's address");
    let mut client = Client::connect([address], None).await?;
    kv(&mut client).await?;
    watch(&mut client).await?;
    lease(&mut client).await?;
    let status = client.status().await?;
    assert_eq!(status.version(), "3.5.13");
    assert_eq!(client.member_list().await?.members().len(), 1);
    println!("all calls gave the expected answers");
    Ok(())
}

async fn kv(client: &mut Client) -> Result<(), Error> {
    for (key, value) in [("kv/a", "2"), ("kv/b", "1")] {
        client.put(key, value, None).await?;
    }
    let with_prev = Some(PutOptions::new().with_prev_key());
    let put = client.put("kv/a", "3", with_prev).await?;
    assert_eq!(put.prev_key().expect("it was there").value(), b"2");
    let by_value = GetOptions::new()
        .with_prefix()
        .with_sort(SortTarget::Value, SortOrder::Descend);
    let found = client.get("kv/", Some(by_value)).await?;
    let keys: Vec<_> = found.kvs().iter().map(|kv| kv.key()).collect();
    assert_eq!(keys, [b"kv/a", b"kv/b"]);
    let before = put.header().expect("a header").revision() - 1;
    let past = GetOptions::new().with_revision(before);
    let found = client.get("kv/a", Some(past)).await?;
    assert_eq!(found.kvs()[0].value(), b"2");

    let transaction = |value: &str| {
        Txn::new()
            .when([Compare::value("kv/a", CompareOp::Equal, value)])
            .and_then([TxnOp::put("kv/a", "4", None), TxnOp::get("kv/a", None)])
            .or_else([TxnOp::delete("kv/b", None)])
    };
    assert!(client.txn(transaction("3")).await?.succeeded());
    assert!(!client.txn(transaction("3")).await?.succeeded());
    let all = Some(DeleteOptions::new().with_prefix().with_prev_key());
    let deleted = client.delete("kv/", all).await?;
    assert_eq!(
        (deleted.deleted(), deleted.prev_kvs()[0].value()),
        (1, &b"4"[..])
    );
    client.compact(before, None).await?;
    client
        .compact(before, None)
        .await
        .expect_err("it is compacted");
    Ok(())
}

async fn watch(client: &mut Client) -> Result<(), Error> {
    let mut stream = client
        .watch(
            "w/",
            Some(WatchOptions::new().with_prefix().with_prev_key()),
        )
        .await?;
    let put = client.put("w/a", "1", None).await?;
    client.put("w/a", "2", None).await?;
    client.delete("w/a", None).await?;
    let start = put.header().expect("a header").revision();
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        let response = stream.message().await?.expect("no end");
        kinds.extend(response.events().iter().map(|event| event.event_type()));
    }
    assert_eq!(kinds, [EventType::Put, EventType::Put, EventType::Delete]);

    let past = WatchOptions::new().with_start_revision(start);
    let mut past = client.watch("w/a", Some(past)).await?;
    let (mut revisions, mut id) = (Vec::new(), -1);
    while revisions.len() < 3 {
        let response = past.message().await?.expect("no end");
        id = response.watch_id();
        let of = |event: &etcd_client::Event| event.kv().expect("a key").mod_revision();
        revisions.extend(response.events().iter().map(of));
    }
    assert_eq!(revisions, [start, start + 1, start + 2]);
    past.request_progress().await?;
    let progress = past.message().await?.expect("no end");
    assert_eq!(progress.header().expect("a header").revision(), start + 2);
    past.cancel(id).await?;
    assert!(past.message().await?.expect("an answer").canceled());
    Ok(())
}

async fn lease(client: &mut Client) -> Result<(), Error> {
    let granted = client
        .lease_grant(60, Some(LeaseGrantOptions::new().with_id(77)))
        .await?;
    assert_eq!((granted.id(), granted.ttl()), (77, 60));
    let attached = PutOptions::new().with_lease(77);
    client.put("l/a", "1", Some(attached)).await?;
    let (mut keeper, mut kept) = client.lease_keep_alive(77).await?;
    keeper.keep_alive().await?;
    assert_eq!(kept.message().await?.expect("an answer").ttl(), 60);
    let time = client.lease_time_to_live(77, None).await?;
    assert_eq!(time.granted_ttl(), 60);
    assert_eq!(client.leases().await?.leases()[0].id(), 77);
    client.lease_revoke(77).await?;
    assert!(client.get("l/a", None).await?.kvs().is_empty());
    client.lease_revoke(77).await.expect_err("it is gone");
    Ok(())
}
