import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AnswerHead } from '../../../../../codecache/proxy/front/answer-head.ts';
import { HotAnswers } from '../../../../../codecache/proxy/front/hot-answers.ts';

const bornMs = Date.UTC(2026, 0, 1);
const head: AnswerHead = {
  status: 200,
  contentType: 'application/octet-stream',
  cacheControl: 'max-age=60',
  etag: '"e"',
  lastModified: undefined,
  vary: undefined,
  length: 3,
  ranges: true,
  bornMs,
  freshUntilMs: bornMs + 60_000,
};
const held = (body: Buffer) => {
  const state = { body, here: true, touched: 0, valid: () => state.here, touch: () => (state.touched += 1) };
  return state;
};
const make = () => new HotAnswers({ via: '1.1 me', idleSeconds: 60 });

test('bytes that may be sent as they are, made anew once a second', () => {
  const answers = make();
  const tier = held(Buffer.from('abc'));
  answers.put('/a', head, tier);
  const first = answers.get('/a', bornMs + 5000)!;
  assert.equal(first.rest, undefined);
  const text = first.first.toString();
  assert.match(text, /^HTTP\/1\.1 200 OK\r\nx-server-version: .*\r\nvia: 1\.1 me\r\n/);
  assert.match(text, /\r\nage: 5\r\n/);
  assert.match(text, /\r\ncache-status: pilotage-cache; hit; ttl=55\r\n/);
  assert.match(
    text,
    /\r\nDate: Thu, 01 Jan 2026 00:00:05 GMT\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n\r\nabc$/,
  );
  const bytes = first.first;
  assert.equal(answers.get('/a', bornMs + 5999)!.first, bytes);
  assert.equal(tier.touched, 1);
  assert.match(answers.get('/a', bornMs + 6000)!.first.toString(), /\r\nage: 6\r\n/);
  assert.equal(tier.touched, 2);
});

test('a long body is never copied', () => {
  const answers = make();
  const tier = held(Buffer.alloc(70_000));
  answers.put('/a', { ...head, length: 70_000 }, tier);
  const { first, rest } = answers.get('/a', bornMs)!;
  assert.equal(rest, tier.body);
  assert.ok(first.toString().endsWith('\r\n\r\n'));
});

test('nothing that is stale, evicted or purged is given', () => {
  const answers = make();
  const tier = held(Buffer.from('abc'));
  answers.put('/a', head, tier);
  assert.equal(answers.get('/b', bornMs), undefined);
  assert.ok(answers.get('/a', bornMs + 59_999));
  assert.equal(answers.get('/a', bornMs + 60_000), undefined);
  answers.put('/a', head, tier);
  assert.ok(answers.get('/a', bornMs));
  tier.here = false;
  assert.equal(answers.get('/a', bornMs), undefined);
});

test('the table is bounded whatever targets clients find', () => {
  const answers = make();
  const tier = held(Buffer.from('abc'));
  for (let i = 0; i <= 16_384; i++) answers.put(`/${i}`, head, tier);
  assert.equal(answers.get('/0', bornMs), undefined);
  assert.ok(answers.get('/16384', bornMs));
});

test('bodies that no tier holds any more are let go of, though nobody asks for them', () => {
  const answers = make();
  const body = Buffer.alloc(1 << 20);
  for (let index = 0; index < 200; index += 1) {
    const tier = held(body);
    answers.put(`/${index}`, { ...head, length: body.length }, tier);
    tier.here = false;
  }
  assert.ok(answers.size <= 17, `${answers.size} are kept`);
});
