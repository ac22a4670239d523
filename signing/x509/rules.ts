import type { PilotageError } from '../../lib/errors.ts';
import { signingError, type X509ErrorCode } from '../errors.ts';

interface ChainRule {
  code: Extract<
    X509ErrorCode,
    'E_CHAIN_INVALID' | 'E_CHAIN_EXPIRED' | 'E_CHAIN_UNTRUSTED' | 'E_NO_CERTIFICATE'
  >;
  /** What must hold. */
  expected: string;
  /** Where that is written. */
  source: string;
}

const invalid = (expected: string, source: string): ChainRule => ({
  code: 'E_CHAIN_INVALID',
  expected,
  source,
});

/**
 * Every rule that a certificate chain is judged by. The key is what `rule` of a refusal starts with, so that a person
 * can look it up here and a program can tell refusals apart.
 */
export const chainRules = {
  'chain-present': {
    code: 'E_NO_CERTIFICATE',
    expected: 'at least one certificate',
    source: 'RFC 5246 7.4.6',
  },
  'chain-bounds': invalid('at most 12 certificates of at most 64 KiB each', 'our bound'),
  'strict-der': invalid('strict DER with nothing after its end', 'X.690 10, RFC 5280 4.1'),
  'version-3': invalid('an X.509 version 3 certificate', 'RFC 5280 4.1.2.1'),
  'serial-number': invalid('a positive serial number of at most 20 bytes', 'RFC 5280 4.1.2.2'),
  'duplicate-extension': invalid('each extension at most once', 'RFC 5280 4.2'),
  'key-type': invalid('RSA of 2048 to 8192 bits, EC P-256 or P-384, or Ed25519', 'RFC 8603, our whitelist'),
  'signature-hash': invalid(
    'a signature with SHA-256, SHA-384, SHA-512 or Ed25519',
    'RFC 6194, RFC 8446 4.2.3',
  ),
  'trust-anchor': {
    code: 'E_CHAIN_UNTRUSTED',
    expected: 'a path by name and signature to an authority that is trusted here',
    source: 'RFC 5280 6.1',
  },
  'off-path': invalid('no certificates of persons or proxies beside the path', 'RFC 8446 4.4.2'),
  validity: {
    code: 'E_CHAIN_EXPIRED',
    expected: 'every link of the path valid now',
    source: 'RFC 5280 6.1.3 (a)(2)',
  },
  'authority-constraints': invalid('issuers of certificates marked CA:TRUE', 'RFC 5280 4.2.1.9'),
  'authority-key-usage': invalid('issuers of certificates with keyCertSign', 'RFC 5280 4.2.1.3'),
  'authority-path-length': invalid(
    "no more authorities below than the authority's pathLenConstraint",
    'RFC 5280 6.1.4 (l)',
  ),
  'critical-extension': invalid('no critical extension that is not understood', 'RFC 5280 4.2'),
  'name-constraints': invalid('names inside what every authority above permits', 'RFC 5280 4.2.1.10'),
  'end-entity': invalid(
    'one end-entity certificate, not an authority, below the authorities',
    'RFC 5280 6.1, RFC 3820 4',
  ),
  'key-usage': invalid('digitalSignature where key usage is stated', 'RFC 3820 3.6, RFC 5280 4.2.1.3'),
  'extended-key-usage': invalid(
    'the purpose of this connection where extended key usage is stated',
    'RFC 5280 4.2.1.12',
  ),
  'proxy-issuer': invalid(
    'proxies issued by an end entity or a proxy, and only proxies issued by these',
    'RFC 3820 3.1',
  ),
  'proxy-information': invalid(
    'one critical, well-formed RFC 3820 proxyCertInfo in each proxy',
    'RFC 3820 3.8',
  ),
  'proxy-name': invalid("the issuer's subject plus exactly one CN", 'RFC 3820 3.4'),
  'proxy-alternative-name': invalid('no subject or issuer alternative name in a proxy', 'RFC 3820 3.2, 3.5'),
  'proxy-not-authority': invalid('no CA:TRUE and no keyCertSign in a proxy', 'RFC 3820 3.6, 3.7'),
  'proxy-path-length': invalid('no more proxies below than pCPathLenConstraint', 'RFC 3820 3.8.1'),
  'proxy-depth': invalid('no more proxies than this service allows', 'our bound'),
  'proxy-limited': invalid('no full proxy below a limited one', 'Globus proxy policy handling'),
} as const satisfies Record<string, ChainRule>;

export type ChainRuleName = keyof typeof chainRules;

/** What is special about one refusal; the rest comes from the rule. */
export interface RefusalParts {
  message: string;
  where: string;
  found?: string;
  fix: string;
  expected?: string;
  cause?: unknown;
}

/** The error of a chain that breaks `rule`; its `rule` reads `name: source`. */
export function refusal(rule: ChainRuleName, parts: RefusalParts): PilotageError {
  const { code, expected, source } = chainRules[rule];
  return signingError({ code, expected, ...parts, rule: `${rule}: ${source}` });
}
