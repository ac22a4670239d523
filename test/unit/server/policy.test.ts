import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PilotageError } from '../../../lib/errors.ts';
import { actions } from '../../../lib/protocol.ts';
import type { Action } from '../../../lib/protocol.ts';
import { silentLog } from '../../../lib/log.ts';
import { AuditLog } from '../../../server/policy/audit-log.ts';
import { authorizeAction, authorizeOn } from '../../../server/policy/authorize.ts';
import { anonymous } from '../../../server/policy/caller.ts';
import type { Caller } from '../../../server/policy/caller.ts';
import { policyBounds, policyTable } from '../../../server/policy/policy-table.ts';
import type { Role } from '../../../server/policy/policy-table.ts';
import { wireError } from '../../../lib/problem.ts';
import { testDatabase } from '../../lab/databases.ts';
import { member, openLab } from './server-lab.ts';

const callers: Record<string, Caller> = {
  submitter: member('alice', ['submitter']),
  shifter: member('sam', ['shifter']),
  admin: member('ada', ['admin']),
  autopilot: member('factory', ['autopilot']),
  stranger: { ...member('eve', []), roles: new Map() },
  pilot: { kind: 'pilot', name: 'pilot P', pilotId: 'P' },
  payload: { kind: 'payload', name: 'payload A', attemptId: 'A' },
  nobody: anonymous,
};

/** Who may do what, written out once more by hand: a change of the table has to be meant. */
const expected: Record<string, Action[]> = {
  submitter: ['submit', 'read', 'kill', 'command'],
  shifter: ['read', 'kill', 'command', 'demand'],
  admin: ['submit', 'read', 'kill', 'command', 'demand', 'submission'],
  autopilot: ['read', 'demand', 'submission'],
  stranger: [],
  pilot: ['acquire', 'update'],
  payload: ['read'],
  nobody: [],
};

test('each kind of caller may do exactly what the table says, and each refusal names its rule', () => {
  for (const [name, caller] of Object.entries(callers)) {
    for (const action of actions) {
      const allowed = expected[name]!.includes(action) || action === 'enrol' || action === 'health';
      const judge = () => authorizeAction(caller, action, 2);
      if (allowed) assert.doesNotThrow(judge, `${name} ${action}`);
      else assert.throws(judge, (error: PilotageError) => (error.rule ?? '').length > 0, `${name} ${action}`);
    }
  }
});

test('limited and far proxies change nothing, and may read', () => {
  for (const action of policyBounds.limitedProxy.actions) {
    const limited = { ...member('ada', ['admin']), limited: true, depth: 1 };
    assert.throws(() => authorizeAction(limited, action, 2), { code: 'E_LIMITED_PROXY' });
    const far = { ...member('ada', ['admin']), depth: 3 };
    assert.throws(() => authorizeAction(far, action, 2), { code: 'E_DELEGATION_DEPTH' });
    assert.doesNotThrow(() => authorizeAction(far, action, 3));
    assert.doesNotThrow(() => authorizeAction(far, 'read', 2));
  }
});

test('a role counts in its own VO only', () => {
  const both = {
    ...member('alice', ['submitter']),
    roles: new Map<string, Set<Role>>([
      ['physics', new Set(['submitter'])],
      ['biology', new Set(['shifter'])],
    ]),
  };
  assert.equal(authorizeOn(both, 'submit', { vo: 'physics' }).rule, 'submitter-submits');
  assert.throws(() => authorizeOn(both, 'submit', { vo: 'biology' }), { code: 'E_NOT_ALLOWED' });
  assert.throws(() => authorizeOn(both, 'read', { vo: 'chemistry' }), { code: 'E_NOT_IN_VO' });
  assert.throws(() => authorizeOn(both, 'kill', { vo: 'physics', owner: 'somebody else' }), {
    code: 'E_NOT_ALLOWED',
  });
  assert.equal(authorizeOn(both, 'kill', { vo: 'biology', owner: 'somebody else' }).rule, 'shifter-operates');
});

test('rules have names of their own', () => {
  const names = [...policyTable, ...Object.values(policyBounds)].map(({ rule }) => rule);
  assert.equal(new Set(names).size, names.length);
});

test('refusals are audited, and a flood of them is counted instead of written', async t => {
  const { db } = await openLab(await testDatabase('sqlite', t));
  let nowMs = 1_000;
  const audit = new AuditLog({ db, log: silentLog, nowMs: () => nowMs, perSecond: 3 });
  const refused = (error: PilotageError) =>
    audit.record({ caller: 'eve', action: 'submit', resource: 'POST /v1/jobs', requestId: 'r', error });
  const error = wireError('E_NOT_ALLOWED', 'No.', { rule: 'default-deny' });
  for (let index = 0; index < 10; index += 1) refused(error);
  refused(wireError('E_BAD_REQUEST', 'Nonsense is no refusal.'));
  nowMs = 2_500;
  refused(error);
  await audit.flush();
  const rows = await db.selectFrom('audit').selectAll().orderBy('audit_id').execute();
  assert.deepEqual(
    rows.map(row => [row.code, row.rule]),
    Array.from({ length: 4 }, () => ['E_NOT_ALLOWED', 'default-deny']),
  );
  assert.match(rows.at(-1)!.detail, /7 refusals before this one were only counted/);
});
