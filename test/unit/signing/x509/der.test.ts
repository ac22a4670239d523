import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  DerError,
  assertStrictDer,
  derChildren,
  derTags,
  readBitString,
  readBoolean,
  readDer,
  readInteger,
  readOid,
  readTime,
  writeBitString,
  writeDer,
  writeInteger,
  writeOid,
  writeSequence,
} from '../../../../signing/x509/der.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

const bad: [title: string, bytes: string][] = [
  ['nothing', ''],
  ['a tag alone', '30'],
  ['content cut off', '30 02 05'],
  ['bytes after the end', '05 00 00'],
  ['an indefinite length', '30 80 05 00 00 00'],
  ['an indefinite length with content enough', `30 80 ${'05 00'.repeat(64)}`],
  ['a long length that fits one byte', '04 81 01 00'],
  ['a length with a leading zero', `04 82 00 80 ${'00'.repeat(128)}`],
  ['a length of five bytes', '04 85 00 00 00 00 01 00'],
  ['a length over the end', '04 84 ff ff ff ff'],
  ['a high tag number', '1f 81 01 00'],
  ['an integer that is empty', '02 00'],
  ['an integer with a leading zero', '02 02 00 01'],
  ['an integer with a leading ff', '02 02 ff 80'],
  ['a boolean of 01', '01 01 01'],
  ['a boolean of two bytes', '01 02 ff ff'],
  ['an empty object identifier', '06 00'],
  ['an object identifier cut off', '06 02 2a 86'],
  ['an object identifier with a padded arc', '06 03 2a 80 01'],
  ['a null with content', '05 01 00'],
  ['a bit string without a count', '03 00'],
  ['a bit string with eight unused bits', '03 02 08 00'],
  ['unused bits that are set', '03 02 01 01'],
  ['a constructed octet string', '24 02 04 00'],
  ['a primitive sequence', '10 00'],
];
for (const [title, bytes] of bad) {
  test(`refused: ${title}`, () => {
    assert.throws(() => assertStrictDer(hex(bytes)), DerError);
    if (bytes !== '' && bytes !== '05 00 00') {
      assert.throws(() => assertStrictDer(writeSequence(hex(bytes))), DerError, 'nested');
    }
  });
}

test('nesting and numbers of elements are bounded', () => {
  let deep: Buffer = Buffer.alloc(0);
  for (let level = 0; level < 30; level++) deep = writeSequence(deep);
  assert.throws(() => assertStrictDer(deep), /nested too deeply/);
  const wide = writeSequence(...Array.from({ length: 20_001 }, () => writeDer(derTags.null)));
  assert.throws(() => assertStrictDer(wide), /too many/);
});

test('times: two and four digit years, to the second, in UTC, of days that exist', () => {
  const utc = (text: string) => readTime(readDer(writeDer(derTags.utcTime, Buffer.from(text))));
  const general = (text: string) => readTime(readDer(writeDer(derTags.generalizedTime, Buffer.from(text))));
  assert.equal(utc('491231235959Z'), Date.UTC(2049, 11, 31, 23, 59, 59));
  assert.equal(utc('500101000000Z'), Date.UTC(1950, 0, 1));
  assert.equal(general('20500101000000Z'), Date.UTC(2050, 0, 1));
  for (const text of [
    '260230000000Z',
    '261301000000Z',
    '2601010000Z',
    '260101000000+0100',
    '26010100000aZ',
  ]) {
    assert.throws(() => utc(text), DerError, text);
  }
  assert.throws(() => general('20260101000000.5Z'), DerError);
  assert.throws(() => readTime(readDer(writeDer(derTags.integer, Buffer.from([1])))), DerError);
});

test('what is written is read back, and every proper prefix of it is refused', () => {
  fc.assert(
    fc.property(
      fc.nat(0x7fffffff),
      fc.uint8Array({ maxLength: 300 }),
      fc.array(fc.nat(0xffffffff), { maxLength: 6 }),
      fc.boolean(),
      (number, bytes, arcs, flag) => {
        const oid = ['1.2', ...arcs].join('.');
        const der = writeSequence(
          writeInteger(number),
          writeBitString(bytes),
          writeOid(oid),
          writeDer(derTags.boolean, Buffer.from([flag ? 0xff : 0])),
        );
        assertStrictDer(der);
        const [a, b, c, d] = derChildren(readDer(der));
        assert.equal(readInteger(a), BigInt(number));
        assert.ok(readBitString(b).bytes.equals(bytes));
        assert.equal(readOid(c), oid);
        assert.equal(readBoolean(d), flag);
        const cut = der.subarray(0, number % der.length);
        assert.throws(() => assertStrictDer(cut), DerError);
        assert.throws(() => assertStrictDer(Buffer.concat([der, cut, Buffer.from([0])])), DerError);
      },
    ),
  );
});

test('any bytes are either read or refused with DerError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      try {
        assertStrictDer(Buffer.from(bytes));
      } catch (error) {
        assert.ok(error instanceof DerError);
      }
    }),
    { numRuns: 1000 },
  );
});

test('an element of another type, or none, is refused by every reader', () => {
  const wrong = readDer(writeDer(derTags.utf8String, Buffer.from([0])));
  for (const read of [readInteger, readBoolean, readOid, readBitString, readTime]) {
    assert.throws(() => read(wrong), DerError, read.name);
    assert.throws(() => read(undefined), DerError, read.name);
  }
  assert.throws(() => derChildren(wrong), DerError);
  assert.throws(() => readDer(hex('31 00'), derTags.sequence), DerError);
});

test('negative integers and the third top arc are read', () => {
  assert.equal(readInteger(readDer(hex('02 01 80'))), -128n);
  assert.equal(readInteger(readDer(hex('02 02 00 80'))), 128n);
  assert.equal(readOid(readDer(writeOid('2.5.29.19'))), '2.5.29.19');
  assert.equal(readOid(readDer(hex('06 03 88 37 03'))), '2.999.3');
});
