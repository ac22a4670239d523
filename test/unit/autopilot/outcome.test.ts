import { test } from 'node:test';
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { judgeOutcome } from '../../../autopilot/cycle/judge-outcome.ts';
import { parseResultLine } from '../../../autopilot/cycle/result-line.ts';

const ended = (exitCode: number | null, cancelled = false) => ({ exitCode, cancelled, note: 'its note' });
const nothing = { state: 'open', jobsDone: 0 };

test('the server comes first, then the result line, then the exit code', () => {
  const failure = { code: 'E_TARGET_HASH', exit: 3, message: 'a byte was changed' };
  const worked = { state: 'ended', jobsDone: 2 };
  assert.equal(judgeOutcome(ended(137), failure, worked).state, 'done');
  assert.deepEqual(judgeOutcome(ended(0), failure, nothing), {
    state: 'failed',
    note: 'E_TARGET_HASH: a byte was changed',
  });
  assert.equal(judgeOutcome(ended(1), { code: 'ok', exit: 0 }, nothing).state, 'done_empty');
  assert.equal(judgeOutcome(ended(1), null, nothing).state, 'failed');
  assert.equal(judgeOutcome(ended(null), null, { state: 'enrolled', jobsDone: 0 }).state, 'failed');
  assert.equal(judgeOutcome(ended(0), null, { state: 'enrolled', jobsDone: 1 }).state, 'done');
  assert.equal(judgeOutcome(ended(0), null, { state: 'ended', jobsDone: 0 }).state, 'done_empty');
  assert.equal(judgeOutcome(ended(143, true), null, nothing).state, 'cancelled');
});

test('the last result line counts, and only a well-formed one', () => {
  const line = (text: string) => `some log\nPILOTAGE-RESULT ${text}\n`;
  assert.deepEqual(parseResultLine(line('{"code":"ok","exit":0,"cache":"http://c","extra":1}')), {
    code: 'ok',
    exit: 0,
    cache: 'http://c',
  });
  assert.equal(
    parseResultLine(line('{"code":"ok","exit":0}') + line('{"code":"E_CLOCK","exit":3}'))?.code,
    'E_CLOCK',
  );
  for (const text of ['{', '{"code":"fine","exit":0}', '{"code":"ok","exit":-1}', '[]', 'null', '']) {
    assert.equal(parseResultLine(line(text)), null, text);
  }
  assert.equal(parseResultLine('a PILOTAGE-RESULT {"code":"ok","exit":0}'), null);
  assert.equal(parseResultLine(''), null);
});

test('property: no output breaks the parser', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (before, after) => {
      const result = parseResultLine(`${before}\nPILOTAGE-RESULT ${after}`);
      assert.ok(result === null || result.code === 'ok' || result.code.startsWith('E_'));
    }),
  );
});
