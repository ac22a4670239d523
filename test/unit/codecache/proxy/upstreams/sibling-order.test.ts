import assert from 'node:assert/strict';
import { test } from 'node:test';
import { siblingOrder } from '../../../../../codecache/proxy/upstreams/sibling-order.ts';

const urls = ['http://a', 'http://b', 'http://c'];
const siblings = urls.map(url => ({ url }));

test('every cache asks the same sibling first for an object, whatever order it lists them in', () => {
  for (let i = 0; i < 50; i += 1) {
    assert.deepEqual(siblingOrder(siblings, `${i}`), siblingOrder(siblings.toReversed(), `${i}`));
  }
});

test('objects are spread evenly, and one sibling more moves only what it takes', () => {
  const firsts = Array.from({ length: 3000 }, (_, i) => siblingOrder(siblings, `${i}`)[0]!.url);
  for (const url of urls) {
    const share = firsts.filter(first => first === url).length / firsts.length;
    assert.ok(Math.abs(share - 1 / 3) < 0.05, `${url}: ${share}`);
  }
  const more = [...siblings, { url: 'http://d' }];
  firsts.forEach((first, i) => {
    const now = siblingOrder(more, `${i}`)[0]!.url;
    assert.ok(now === first || now === 'http://d');
  });
});
