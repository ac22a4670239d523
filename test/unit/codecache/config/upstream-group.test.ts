import assert from 'node:assert/strict';
import { test } from 'node:test';
import { upstreamGroups, upstreamUrl } from '../../../../codecache/config/upstream-group.ts';

const refusals = (groups: unknown): string[] => {
  const { success, error } = upstreamGroups.safeParse(groups);
  return success ? [] : error.issues.map(({ message }) => message);
};

test('URLs and groups of them are upstreams', () => {
  for (const groups of [
    ['http://origin'],
    ['http://a:8090/|https://b/store', 'http://[::1]:8090'],
    ['http://127.0.0.1:1'],
  ])
    assert.deepEqual(refusals(groups), [], groups.join());
});

test('anything else is refused by name', () => {
  for (const [groups, refusal] of [
    [undefined, /--upstream/],
    [[], /./],
    [['origin:8090'], /"origin:8090" is none/],
    [['ftp://origin'], /"ftp:\/\/origin" is none/],
    [['http://a||http://b'], /"" is no URL/],
    [['http://a|'], /"" is no URL/],
    [['http://a;http://b'], /is no URL/],
    [['http://squid:3128>http://store'], /is no URL/],
    [['http://user:secret@a'], /user name/],
    [['http://a/?x'], /query/],
    [['http://a#x'], /fragment/],
    [['http://a|http://a/'], /"http:\/\/a" is named twice/],
    [['http://a', 'http://b|http://a'], /named twice/],
    [[Array.from({ length: 17 }, (_, i) => `http://a${i}`).join('|')], /at most 16/],
  ] as const) {
    assert.match(refusals(groups)[0] ?? 'accepted', refusal, String(groups));
  }
  assert.doesNotMatch(refusals(['http://user:secret@a']).join(), /secret/);
  assert.equal(upstreamUrl.safeParse('http://a|http://b').success, false);
});
