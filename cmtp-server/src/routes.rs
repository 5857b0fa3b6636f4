//! Where targets lead.

use std::sync::Arc;
use std::time::Duration;

use cmtp_codec::{Fqmn, Pattern, subject};
use cmtp_spec::{BusAuth, JournalMode, Status, binding, limits};

use crate::audit_stream::Audit;
use crate::config::{Config, Destination, RouteConfig};
use crate::erasure::Eraser;
use crate::log::LogService;
use crate::nats;
use crate::node::NodeError;
use crate::node_keys::NodeKeys;
use crate::refusal::Refusal;
use crate::service::{self, Service, Services};
use crate::sessions::SessionService;
use crate::state::State;

/// The route table: the first route that covers a target counts.
pub(crate) struct Routes(Vec<Route>);

/// The services that are parts of the node itself.
pub(crate) struct BuiltIn {
    pub(crate) eraser: Arc<Eraser>,
    pub(crate) log: Arc<LogService>,
    pub(crate) audit: Audit,
    pub(crate) sessions: Arc<SessionService>,
}

/// Where targets lead that a pattern covers.
pub(crate) struct Route {
    pattern: Pattern,
    /// Whether it serves writes; a pattern is spelled with read opcodes either way.
    serves_writes: bool,
    subject: Option<String>,
    pub(crate) service: Handler,
    pub(crate) timeout: Duration,
    pub(crate) journal: JournalMode,
}

/// A service, in the process or made for a route.
pub(crate) enum Handler {
    Local(&'static dyn Service),
    /// Of the program that the node is in.
    Own(Arc<dyn Service>),
    State(State),
    Log(Arc<LogService>),
    Audit(Audit),
    Eraser(Arc<Eraser>),
    Sessions(Arc<SessionService>),
    Plain(Arc<nats::Plain>),
    Layered(Arc<nats::Layered>),
}

impl Handler {
    /// The service in the process that is called so.
    fn local(name: &str, built_in: &BuiltIn) -> Option<Self> {
        match name {
            "state" => Some(Self::State(built_in.eraser.state().clone())),
            "log" => Some(Self::Log(Arc::clone(&built_in.log))),
            "audit" => Some(Self::Audit(built_in.audit.clone())),
            _ => service::local(name).map(Self::Local),
        }
    }

    pub(crate) const fn is_layered(&self) -> bool {
        matches!(self, Self::Layered(_))
    }

    pub(crate) fn service(&self) -> &dyn Service {
        match self {
            Self::Local(service) => *service,
            Self::Own(service) => service.as_ref(),
            Self::State(state) => state,
            Self::Log(log) => log.as_ref(),
            Self::Audit(audit) => audit,
            Self::Eraser(eraser) => eraser.as_ref(),
            Self::Sessions(sessions) => sessions.as_ref(),
            Self::Plain(plain) => plain.as_ref(),
            Self::Layered(layered) => layered.as_ref(),
        }
    }
}

impl Routes {
    /// Builds the table.
    pub(crate) fn open(
        config: &Config,
        built_in: &BuiltIn,
        bus: Option<&nats::Bus>,
        services: &Services,
        keys: &Arc<NodeKeys>,
    ) -> Result<Self, NodeError> {
        let mut routes = Vec::with_capacity(config.routes.len() + BUILT_IN.len() + 1);
        // The first, so that no route of the configuration takes them to a bus.
        for serves_writes in [false, true] {
            routes.push(Route {
                pattern: Pattern::parse(binding::SESSION_PATTERN)
                    .map_err(|_built_in| NodeError::no_service(ERASE, services))?,
                serves_writes,
                subject: None,
                service: Handler::Sessions(Arc::clone(&built_in.sessions)),
                timeout: Duration::from_secs(limits::SERVICE_DEADLINE),
                journal: JournalMode::WAL,
            });
        }
        routes.push(Route {
            pattern: Pattern::parse(ERASE)
                .map_err(|_built_in| NodeError::no_service(ERASE, services))?,
            serves_writes: true,
            subject: None,
            service: Handler::Eraser(Arc::clone(&built_in.eraser)),
            // A large journal takes long to look through; the caller's not-after bounds it.
            timeout: Duration::from_secs(limits::NOT_AFTER_MAX),
            journal: JournalMode::WAL,
        });
        for route in &config.routes {
            routes.push(Route::open(route, bus, config, built_in, services, keys)?);
        }
        for (target, serves_writes, name) in BUILT_IN {
            let missing = || NodeError::no_service(name, services);
            routes.push(Route {
                pattern: Pattern::parse(target).map_err(|_built_in| missing())?,
                serves_writes: *serves_writes,
                subject: None,
                service: Handler::local(name, built_in).ok_or_else(missing)?,
                timeout: Duration::from_secs(limits::SERVICE_DEADLINE),
                journal: config.journal.mode,
            });
        }
        Ok(Self(routes))
    }

    /// The route for `target`.
    pub(crate) fn find(&self, target: &Fqmn) -> Option<&Route> {
        let serves = |route: &&Route| route.serves_writes == target.is_write();
        self.0.iter().filter(serves).find(|route| route.pattern.covers(target))
    }
}

impl Route {
    fn open(
        route: &RouteConfig,
        bus: Option<&nats::Bus>,
        config: &Config,
        built_in: &BuiltIn,
        services: &Services,
        keys: &Arc<NodeKeys>,
    ) -> Result<Self, NodeError> {
        let (service, subject) = match &route.to {
            Destination::Local(name) => {
                let service = services
                    .find(name)
                    .map(Handler::Own)
                    .or_else(|| Handler::local(name, built_in));
                (service.ok_or_else(|| NodeError::no_service(name, services))?, None)
            }
            Destination::Nats(subject) => {
                let bus =
                    bus.ok_or_else(|| NodeError::NoBus { target: route.target.to_string() })?;
                let (bus, body_max) = (bus.clone(), config.body_max);
                let handler = if route.actors.is_empty() {
                    let headers = route.headers.clone();
                    Handler::Plain(Arc::new(nats::Plain::new(bus, headers, body_max)))
                } else {
                    Handler::Layered(Arc::new(nats::Layered::new(bus, route, body_max, keys)))
                };
                (handler, subject.clone())
            }
        };
        Ok(Self {
            pattern: route.target.clone(),
            serves_writes: route.serves_writes,
            subject,
            service,
            timeout: route.timeout,
            journal: route.journal.unwrap_or(config.journal.mode),
        })
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

/// What the node's operator calls to erase a message.
pub(crate) const ERASE: &str = "0xI:erase";

/// Pattern, whether it serves writes, service.
const BUILT_IN: &[(&str, bool, &str)] = &[
    ("0xS:echo", false, "echo"),
    ("0xS:time", false, "time"),
    ("0xS:time:ticks", false, "ticks"),
    ("0xI:log:*", false, "log"),
    ("0xE:audit", false, "audit"),
    ("0xS:*:**", false, "state"),
    ("0xS:*:**", true, "state"),
];
