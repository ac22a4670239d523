import { test } from 'node:test';
import assert from 'node:assert/strict';
import { errorTable } from '../../../lib/error-table.ts';
import { causeTable } from '../../../lib/job-causes.ts';
import { jobStates, jobTransitions, mayBecome, finalStates, activeStates } from '../../../lib/job-states.ts';

test('the table answers as load balancers need it', () => {
  const rows = Object.entries(errorTable);
  for (const [code, { status, client, balancer }] of rows) {
    if (status === 429 || status === 503) assert.equal(client, 'repeat elsewhere after Retry-After', code);
    if (status === 500) assert.equal(client, 'repeat elsewhere once', code);
    if (status === 503) assert.equal(balancer, 'try another server', code);
    if (status >= 400 && status < 500 && status !== 429)
      assert.ok(!client.startsWith('repeat'), `${code} must never be retried`);
  }
  const statuses = new Set<number>(rows.map(([, { status }]) => status));
  for (const status of [409, 410, 412, 421, 426, 429, 500, 503])
    assert.ok(statuses.has(status), String(status));
});

test('final states lead nowhere, and every other state can end', () => {
  for (const state of jobStates) {
    const reach = new Set([state]);
    for (const from of reach) for (const to of jobTransitions[from]) reach.add(to);
    if (finalStates.includes(state)) assert.deepEqual([...reach], [state]);
    else assert.ok(reach.has('failed') && reach.has('cancelled'), state);
  }
  assert.deepEqual(finalStates, ['finished', 'failed', 'cancelled', 'closed']);
});

test('only a pilot finishes a job, and only an active job is requeued', () => {
  for (const state of jobStates) {
    assert.equal(mayBecome(state, 'finished'), activeStates.includes(state), state);
    if (state !== 'defined' && state !== 'assigned')
      assert.equal(mayBecome(state, 'activated'), activeStates.includes(state), state);
  }
});

test("a user's or payload's own failure is never retried", () => {
  for (const [code, rule] of Object.entries(causeTable)) {
    if (rule.owner === 'user' || rule.owner === 'payload') assert.equal(rule.retry, false, code);
    assert.ok(rule.fix.endsWith('.') && rule.meaning.endsWith('.'), code);
  }
});
