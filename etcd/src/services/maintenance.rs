//! `etcdserverpb.Maintenance`.

use tonic::{Request, Response, Status};

use super::etcd::Etcd;
use crate::store::Store;
use crate::wire::etcdserverpb::alarm_request::AlarmAction;
use crate::wire::etcdserverpb::maintenance_server::Maintenance;
use crate::wire::etcdserverpb::{AlarmRequest, AlarmResponse, StatusRequest, StatusResponse};

#[tonic::async_trait]
impl<S: Store> Maintenance for Etcd<S> {
    /// Lists no alarms; none can be raised.
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        self.caller(request.metadata())?;
        if request.into_inner().action != AlarmAction::Get as i32 {
            return Err(Status::unimplemented("kvwatch: alarms cannot be changed"));
        }
        Ok(Response::new(AlarmResponse {
            header: self.header(),
            alarms: Vec::new(),
        }))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        self.caller(request.metadata())?;
        let size = self.store.size();
        let revision = self.hub.revision();
        Ok(Response::new(StatusResponse {
            header: self.header(),
            version: self.identity.version.clone(),
            db_size: size.allocated.cast_signed(),
            leader: self.identity.member_id,
            raft_index: revision,
            raft_term: self.identity.raft_term,
            raft_applied_index: revision,
            errors: Vec::new(),
            db_size_in_use: size.used.cast_signed(),
            is_learner: false,
        }))
    }
}
