//! Where targets lead.

use std::sync::Arc;
use std::time::Duration;

use cmtp_codec::{Fqmn, Pattern, subject};
use cmtp_spec::{BusAuth, Status, limits};

use crate::config::{Bus, Config, Destination, RouteConfig};
use crate::nats;
use crate::node::NodeError;
use crate::refusal::Refusal;
use crate::service::{self, Service};

/// The route table: the first route that covers a target counts.
pub(crate) struct Routes(Vec<Route>);

/// Where targets lead that a pattern covers.
pub(crate) struct Route {
    pattern: Pattern,
    subject: Option<String>,
    pub(crate) service: Handler,
    pub(crate) timeout: Duration,
}

/// A service, in the process or made for a route.
pub(crate) enum Handler {
    Local(&'static dyn Service),
    Plain(Arc<nats::Plain>),
}

impl Handler {
    pub(crate) fn service(&self) -> &dyn Service {
        match self {
            Self::Local(service) => *service,
            Self::Plain(plain) => plain.as_ref(),
        }
    }
}

impl Routes {
    /// Builds the table, and connects to the bus if a route needs one.
    pub(crate) async fn open(config: &Config) -> Result<Self, NodeError> {
        let client = match &config.bus {
            Bus::Local => None,
            Bus::Nats(url) => {
                let connected = nats::connect(url).await;
                Some(connected.map_err(|source| NodeError::Bus { url: url.clone(), source })?)
            }
        };
        let mut routes = Vec::with_capacity(config.routes.len() + BUILT_IN.len());
        for route in &config.routes {
            routes.push(Route::open(route, client.as_ref(), config.body_max)?);
        }
        for (target, name) in BUILT_IN {
            let missing = || NodeError::NoService { name: (*name).to_owned() };
            routes.push(Route {
                pattern: Pattern::parse(target).map_err(|_built_in| missing())?,
                subject: None,
                service: Handler::Local(service::local(name).ok_or_else(missing)?),
                timeout: Duration::from_secs(limits::SERVICE_DEADLINE),
            });
        }
        Ok(Self(routes))
    }

    /// The route for `target`.
    pub(crate) fn find(&self, target: &Fqmn) -> Option<&Route> {
        // A pattern is spelled with read opcodes; a write goes only where a write form was meant, which needs a journal.
        self.0.iter().find(|route| !target.is_write() && route.pattern.covers(target))
    }
}

impl Route {
    fn open(
        route: &RouteConfig,
        client: Option<&nats::Client>,
        body_max: u64,
    ) -> Result<Self, NodeError> {
        let (service, subject) = match &route.to {
            Destination::Local(name) => {
                let service = service::local(name)
                    .ok_or_else(|| NodeError::NoService { name: name.clone() })?;
                (Handler::Local(service), None)
            }
            Destination::Nats(subject) => {
                let client =
                    client.ok_or_else(|| NodeError::NoBus { target: route.target.to_string() })?;
                let plain = nats::Plain::new(client.clone(), route.headers.clone(), body_max);
                (Handler::Plain(Arc::new(plain)), subject.clone())
            }
        };
        Ok(Self { pattern: route.target.clone(), subject, service, timeout: route.timeout })
    }

    /// The bus subject for `target`, or `None` where the service is in the process.
    pub(crate) fn subject(&self, target: &Fqmn) -> Result<Option<String>, Refusal> {
        if self.service.service().bus_auth() == BusAuth::LOCAL {
            return Ok(None);
        }
        match &self.subject {
            Some(subject) => Ok(Some(subject.clone())),
            // [FQN-11] A subject longer than `subject-max` bytes MUST be refused with status 414.
            None => subject(target)
                .map(Some)
                .map_err(|error| Refusal::new(Status::TARGET_TOO_LONG, error.to_string())),
        }
    }
}

const BUILT_IN: &[(&str, &str)] = &[("0xS:echo", "echo"), ("0xS:time", "time")];
