//! Policies as Cedar reads and judges them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Effect, Entities, Entity, EntityId, EntityTypeName,
    EntityUid, Policy, PolicyId, PolicySet, Request, Response, RestrictedExpression, Schema,
    ValidationMode, Validator,
};
use cmtp_codec::{PolicyFiles, PolicyName};
use cmtp_spec::{Opcode, limits};
use miette::Diagnostic;

use crate::policy::error::PolicyError;
use crate::policy::question::{Action, Decision, Question};
use crate::policy::subject::Subject;

/// A set that passed, and the names that every question needs.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    policies: PolicySet,
    ids: BTreeSet<String>,
    forbids: HashSet<PolicyId>,
    authorizer: Authorizer,
    persona: EntityTypeName,
    group: EntityTypeName,
    fqmn: EntityTypeName,
    actions: BTreeMap<&'static str, EntityUid>,
}

impl Judge {
    /// Reads and validates a set.
    pub(crate) fn of(files: &PolicyFiles) -> Result<Option<Self>, PolicyError> {
        let schema = Schema::from_str(SCHEMA).map_err(library)?;
        let validator = Validator::new(schema);
        let mut read = Read::default();
        for (file, bytes) in files.iter() {
            let text = std::str::from_utf8(bytes)
                .map_err(|_not_utf8| PolicyError::NotText { file: file.to_owned() })?;
            read.file(file, text, &validator)?;
        }
        let name = |text| EntityTypeName::from_str(text).map_err(library);
        let action = name("Action")?;
        let actions = Opcode::ALL.iter().filter_map(|opcode| opcode.action());
        let parts = Parts {
            policies: read.policies,
            ids: read.ids,
            forbids: read.forbids,
            authorizer: Authorizer::new(),
            persona: name("Persona")?,
            group: name("Group")?,
            fqmn: name("Fqmn")?,
            actions: actions.map(|word| (word, uid(&action, word))).collect(),
        };
        Ok(Some(Self { parts: Arc::new(parts) }))
    }

    pub(crate) fn decide(&self, question: &Question<'_>) -> Decision {
        // A question that can't be asked is one that nothing permits.
        let Some(response) = self.parts.ask(question) else {
            return Decision { is_allowed: false, policies: Vec::new() };
        };
        self.parts.decision(&response)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.parts.ids.iter().map(String::as_str)
    }
}

impl Parts {
    fn ask(&self, question: &Question<'_>) -> Option<Response> {
        let principal = self.persona(&question.principal.to_string(), question.subject)?;
        let resource = self.resource(&question.resource())?;
        let action = self.actions.get(Action::name(question.action()))?.clone();
        let granted = RestrictedExpression::new_string(question.granted.name().to_owned());
        let context = Context::from_pairs([("granted".to_owned(), granted)]).ok()?;
        let request = Request::new(principal.uid(), action, resource.uid(), context, None).ok()?;
        let entities = Entities::from_entities([principal, resource], None).ok()?;
        Some(self.authorizer.is_authorized(&request, &self.policies, &entities))
    }

    fn persona(&self, did: &str, subject: &Subject) -> Option<Entity> {
        let groups = subject.groups.iter().map(|group| uid(&self.group, group));
        let tags = subject.attributes.iter();
        let tags = tags.map(|(name, value)| (name.clone(), text(value)));
        Entity::new_with_tags(uid(&self.persona, did), [], groups, tags).ok()
    }

    fn resource(&self, name: &PolicyName) -> Option<Entity> {
        let parents = name.beginnings().map(|beginning| uid(&self.fqmn, beginning)).collect();
        let opcode = HashMap::from([("opcode".to_owned(), text(name.opcode()))]);
        Entity::new(uid(&self.fqmn, name.as_str()), opcode, parents).ok()
    }

    fn decision(&self, response: &Response) -> Decision {
        let diagnostics = response.diagnostics();
        // [POL-3] A `forbid` whose evaluation fails MUST count as satisfied.
        let failed = diagnostics
            .errors()
            .map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id());
        let failed: Vec<_> = failed.filter(|id| self.forbids.contains(id)).collect();
        let is_allowed = response.decision() == cedar_policy::Decision::Allow;
        let ids: BTreeSet<&str> = match (is_allowed, failed.is_empty()) {
            (true, false) => failed.into_iter().map(AsRef::as_ref).collect(),
            _ => diagnostics.reason().chain(failed).map(AsRef::as_ref).collect(),
        };
        let is_allowed =
            is_allowed && ids.iter().all(|id| !self.forbids.contains(&PolicyId::new(id)));
        Decision { is_allowed, policies: ids.into_iter().map(str::to_owned).collect() }
    }
}

/// What was read of a set so far.
#[derive(Default)]
struct Read {
    policies: PolicySet,
    ids: BTreeSet<String>,
    forbids: HashSet<PolicyId>,
}

impl Read {
    fn file(&mut self, file: &str, text: &str, validator: &Validator) -> Result<(), PolicyError> {
        let parsed = PolicySet::from_str(text).map_err(|errors| {
            let (line, shown) = place(&errors, text);
            let message = message(&errors);
            PolicyError::Syntax { file: file.to_owned(), line, shown, message }
        })?;
        // [POL-6] A node MUST refuse a set with a template in it.
        if parsed.templates().next().is_some() {
            return Err(PolicyError::Template { file: file.to_owned() });
        }
        let mut named = PolicySet::new();
        for place in 0..parsed.num_of_policies() {
            // The parser numbers them so, in the order of the text.
            let Some(policy) = parsed.policy(&PolicyId::new(format!("policy{place}"))) else {
                return Err(library("a policy has no number"));
            };
            let policy = self.named(file, place, policy)?;
            named.add(policy.clone()).map_err(library)?;
            self.policies.add(policy).map_err(library)?;
        }
        // [POL-4] A node MUST refuse a set that does not pass strict validation.
        let result = validator.validate(&named, ValidationMode::Strict);
        match result.validation_errors().min_by_key(|error| place(*error, text).0) {
            None => Ok(()),
            Some(error) => Err(PolicyError::Invalid {
                file: file.to_owned(),
                line: place(error, text).0,
                id: error.policy_id().to_string(),
                message: message(error),
            }),
        }
    }

    /// The policy under its own id.
    fn named(&mut self, file: &str, place: usize, policy: &Policy) -> Result<Policy, PolicyError> {
        let stem = file.strip_suffix(".cedar").unwrap_or(file);
        let id = policy.annotation("id").map_or_else(|| format!("{stem}#{place}"), str::to_owned);
        let file = file.to_owned();
        // [POL-6] A node MUST refuse a set in which an id is not unique, or is none, and one of too many policies.
        if !is_id(&id) {
            return Err(PolicyError::Id { file, id });
        }
        if self.ids.len() as u64 >= limits::POLICIES_MAX {
            return Err(PolicyError::TooMany { file });
        }
        if !self.ids.insert(id.clone()) {
            return Err(PolicyError::SameId { file, id });
        }
        let id = PolicyId::new(id);
        if policy.effect() == Effect::Forbid {
            self.forbids.insert(id.clone());
        }
        Ok(policy.new_id(id))
    }
}

fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._#-".contains(&byte);
    (1..=limits::POLICY_ID_MAX).contains(&(id.len() as u64)) && id.bytes().all(is_plain)
}

fn uid(name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

/// The line of `text`, and what stands there, to which an error points; the first where it points nowhere.
fn place(error: &dyn Diagnostic, text: &str) -> (usize, String) {
    let label = error.labels().and_then(|mut labels| labels.next());
    let before = label.and_then(|label| text.get(..label.offset())).unwrap_or_default();
    let number = before.matches('\n').count();
    let shown = text.lines().nth(number).unwrap_or_default().trim();
    (number + 1, shown.chars().take(SHOWN).collect())
}

/// What an error says, and its help, in one line.
fn message(error: &dyn Diagnostic) -> String {
    let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{error}{help}").replace('\n', ", ")
}

fn library(error: impl ToString) -> PolicyError {
    PolicyError::Library { message: error.to_string() }
}

/// What policies may name: chapter 23 has the same text.
const SCHEMA: &str = include_str!("schema.cedarschema");
/// Characters of a line that an error shows.
const SHOWN: usize = 80;
