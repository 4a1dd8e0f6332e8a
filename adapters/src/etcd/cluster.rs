//! `etcdserverpb.Maintenance`, `Cluster` and `Auth`: what clients ask before they begin.

use tonic::{Request, Response, Status};

use super::service::Etcd;
use super::store::Store;
use super::wire::etcdserverpb::alarm_request::AlarmAction;
use super::wire::etcdserverpb::auth_server::Auth;
use super::wire::etcdserverpb::cluster_server::Cluster;
use super::wire::etcdserverpb::maintenance_server::Maintenance;
use super::wire::etcdserverpb::{
    AlarmRequest, AlarmResponse, AuthenticateRequest, AuthenticateResponse, Member,
    MemberListRequest, MemberListResponse, StatusRequest, StatusResponse,
};

#[tonic::async_trait]
impl<S: Store> Maintenance for Etcd<S> {
    /// There are no alarms, and none can be raised.
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

#[tonic::async_trait]
impl<S: Store> Cluster for Etcd<S> {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        self.caller(request.metadata())?;
        let identity = &self.identity;
        let member = Member {
            id: identity.member_id,
            name: identity.name.clone(),
            peer_ur_ls: Vec::new(),
            client_ur_ls: identity.client_urls.clone(),
            is_learner: false,
        };
        Ok(Response::new(MemberListResponse {
            header: self.header(),
            members: vec![member],
        }))
    }
}

#[tonic::async_trait]
impl<S: Store> Auth for Etcd<S> {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let AuthenticateRequest { name, password } = request.into_inner();
        let token = self.users.log_in(&name, &password)?;
        Ok(Response::new(AuthenticateResponse {
            header: self.header(),
            token,
        }))
    }
}
