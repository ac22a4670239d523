import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { PilotageError } from '../../../../lib/errors.ts';
import { isWireErrorCode } from '../../../../lib/error-table.ts';
import { createCsr, readCsr } from '../../../../signing/x509/csr.ts';
import { toPem } from '../../../../signing/x509/pem.ts';
import { trustFromPem } from '../../../../signing/x509/trust.ts';
import { verifyChain } from '../../../../signing/x509/verify-chain.ts';
import { ecKey, forgeProxy, hierarchy, nowMs } from './forge.ts';

const { root, sub, user } = hierarchy();
const chain = [forgeProxy(user).der, user.der, sub.der];
const trust = trustFromPem([{ file: 'ca.pem', pem: toPem(root.der) }], 'ca.pem');

type Mutation = {
  at: number;
  kind: 'flip' | 'insert' | 'remove' | 'cut' | 'copy';
  byte: number;
  length: number;
};
const mutation: fc.Arbitrary<Mutation> = fc.record({
  at: fc.nat(2000),
  kind: fc.constantFrom('flip', 'insert', 'remove', 'cut', 'copy'),
  byte: fc.integer({ min: 1, max: 255 }),
  length: fc.integer({ min: 1, max: 40 }),
});

function mutate(der: Buffer, { at, kind, byte, length }: Mutation): Buffer {
  const here = at % der.length;
  const [before, after] = [der.subarray(0, here), der.subarray(here)];
  switch (kind) {
    case 'flip': {
      const copy = Buffer.from(der);
      copy[here]! ^= byte;
      return copy;
    }
    case 'insert':
      return Buffer.concat([before, Buffer.from([byte]), after]);
    case 'remove':
      return Buffer.concat([before, after.subarray(length)]);
    case 'cut':
      return before;
    default:
      return Buffer.concat([before, after.subarray(0, length), after]);
  }
}

test('a chain with any byte changed is refused, always with a code that the wire knows', () => {
  verifyChain(chain, trust, nowMs);
  fc.assert(
    fc.property(fc.nat(2), fc.array(mutation, { minLength: 1, maxLength: 3 }), (which, mutations) => {
      const changed = mutations.reduce(mutate, chain[which]!);
      fc.pre(!changed.equals(chain[which]!));
      assert.throws(
        () => verifyChain(chain.with(which, changed), trust, nowMs),
        error => error instanceof PilotageError && isWireErrorCode(error.code) && error.rule !== undefined,
      );
    }),
    { numRuns: 1500 },
  );
});

test('any list of byte strings is refused with a code that the wire knows', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 14 }), parts => {
      assert.throws(
        () =>
          verifyChain(
            parts.map(part => Buffer.from(part)),
            trust,
            nowMs,
          ),
        error => error instanceof PilotageError && isWireErrorCode(error.code),
      );
    }),
  );
});

test('a request with any byte changed is refused with E_CSR_INVALID', () => {
  const key = ecKey();
  const pem = createCsr({ privateKey: key, subject: [['CN', 'x']] });
  const der = Buffer.from(pem.split('\n').slice(1, -2).join(''), 'base64');
  assert.ok(readCsr(pem).publicKey.equals(createPublicKey(key)));
  fc.assert(
    fc.property(mutation, change => {
      const changed = mutate(der, change);
      fc.pre(!changed.equals(der));
      assert.throws(() => readCsr(toPem(changed, 'CERTIFICATE REQUEST')), { code: 'E_CSR_INVALID' });
    }),
    { numRuns: 500 },
  );
});
