import type { Certificate } from './certificate.ts';
import { checkCritical, checkUsages, type CertificateUsage } from './authority-rules.ts';
import { derChildren, readDer } from './der.ts';
import { extensionOids as oids, keyUsageBits, proxyPolicies, type ProxyCertInfo } from './extensions.ts';
import { commonNameOid, readName } from './names.ts';
import { refusal } from './rules.ts';

export type ProxyRights = 'full' | 'limited' | 'none';

/** What a chain of proxies may do: `limited` once any link is; `none` from the first independent or unknown policy on. */
export interface ProxyState {
  limited: boolean;
  rights: ProxyRights;
}

/** Decided by the extension, never by the text of a name (RFC 3820 3.8). */
export const isProxy = (certificate: Certificate): boolean => certificate.extensions.has(oids.proxyCertInfo);

/**
 * Judges the proxies below an end entity, nearest to it first (RFC 3820 3 and 4; Globus "limited" on top).
 *
 * @param maxDepth how many proxies this service allows.
 * @throws E_CHAIN_INVALID with the rule that is broken.
 */
export function checkProxies(
  endEntity: Certificate,
  proxies: readonly Certificate[],
  options: { maxDepth: number; usage: CertificateUsage },
): ProxyState {
  let state: ProxyState = { limited: false, rights: 'full' };
  if (proxies.length > options.maxDepth) {
    throw refusal('proxy-depth', {
      message: 'The proxy chain is deeper than this service allows.',
      where: proxies[0]!.where,
      expected: `at most ${options.maxDepth} proxies`,
      found: `${proxies.length}`,
      fix: 'Delegate fewer times; start from a new proxy.',
    });
  }
  proxies.forEach((proxy, index) => {
    const parent = proxies[index - 1] ?? endEntity;
    const info = proxyInfoOf(proxy);
    checkForm(proxy);
    const commonName = appendedName(proxy, parent);
    checkUsages(proxy, options.usage);
    const below = proxies.length - index - 1;
    if (info.pathLength !== undefined && below > info.pathLength) {
      throw refusal('proxy-path-length', {
        message: 'More proxies were made from this one than it allows.',
        where: proxy.where,
        expected: `at most ${info.pathLength} below it`,
        found: `${below}`,
        fix: 'Make the first proxy with a longer path length, or delegate fewer times.',
      });
    }
    state = nextState(state, proxy, info, commonName);
  });
  return state;
}

/**
 * Everything below an end entity has to be a proxy; told before anything else is read from it.
 *
 * @throws E_CHAIN_INVALID.
 */
export function requireProxy(certificate: Certificate): void {
  if (isProxy(certificate)) return;
  if (certificate.extensions.has(oids.draftProxyCertInfo)) {
    throw badInfo(certificate, 'A draft (GT3) proxy is not accepted.', 'no RFC 3820 proxyCertInfo');
  }
  const [last] = readName(certificate.subject).at(-1) ?? [];
  if (last?.value === 'proxy' || last?.value === 'limited proxy') {
    throw badInfo(certificate, 'A legacy (GT2) proxy is not accepted.', 'no proxyCertInfo');
  }
  throw refusal('authority-constraints', {
    message: 'A certificate was issued by one that is not an authority, and it is not a proxy.',
    where: certificate.where,
    found: `issuer ${certificate.issuerDn}`,
    fix: 'Get the certificate from an authority.',
  });
}

const badInfo = ({ where }: Certificate, message: string, found: string) =>
  refusal('proxy-information', {
    message,
    where,
    found,
    fix: 'Make the proxy with a tool that writes RFC 3820 proxies (voms-proxy-init -rfc, grid-proxy-init -rfc).',
  });

function proxyInfoOf(proxy: Certificate): ProxyCertInfo {
  requireProxy(proxy);
  const info = proxy.proxyInfo;
  if (!info || !proxy.extensions.get(oids.proxyCertInfo)?.critical) {
    throw badInfo(proxy, 'The proxyCertInfo is not marked critical.', 'not critical');
  }
  if (proxy.extensions.has(oids.draftProxyCertInfo)) {
    throw badInfo(proxy, 'A proxy is of the draft and of the final form at once.', 'two proxyCertInfo');
  }
  const plain: string[] = Object.values(proxyPolicies);
  if (info.hasPolicy && plain.includes(info.language)) {
    throw badInfo(
      proxy,
      'A proxy carries policy text that its policy language does not have.',
      info.language,
    );
  }
  return info;
}

function checkForm(proxy: Certificate): void {
  if (proxy.basicConstraints?.ca || proxy.keyUsage?.has(keyUsageBits.keyCertSign)) {
    throw refusal('proxy-not-authority', {
      message: 'A proxy claims the powers of an authority.',
      where: proxy.where,
      found: proxy.basicConstraints?.ca ? 'CA:TRUE' : 'keyCertSign',
      fix: 'Make a new proxy with a current tool.',
    });
  }
  for (const oid of [oids.subjectAltName, oids.issuerAltName]) {
    if (proxy.extensions.has(oid)) {
      throw refusal('proxy-alternative-name', {
        message: 'A proxy carries an alternative name.',
        where: proxy.where,
        found: `extension ${oid}`,
        fix: 'Make a new proxy with a current tool.',
      });
    }
  }
  checkCritical(proxy, oids.proxyCertInfo);
}

/** The CN that the proxy adds to its issuer's subject, compared by bytes. */
function appendedName(proxy: Certificate, parent: Certificate): string {
  const own = readName(proxy.subject);
  const above = rdnBytes(parent);
  const [attribute, ...more] = own.at(-1) ?? [];
  const fits =
    own.length === above.length + 1 &&
    more.length === 0 &&
    attribute?.type === commonNameOid &&
    rdnBytes(proxy)
      .slice(0, -1)
      .every((rdn, index) => rdn.equals(above[index]!));
  if (!fits) {
    throw refusal('proxy-name', {
      message: "The subject of a proxy is not its issuer's subject plus one CN.",
      where: proxy.where,
      expected: `${parent.subjectDn}/CN=…`,
      found: proxy.subjectDn,
      fix: 'Make a new proxy with a current tool.',
    });
  }
  return attribute.value;
}

/** The RDNs of a subject, each as its own DER. */
const rdnBytes = ({ subject }: Certificate): Buffer[] =>
  derChildren(readDer(subject)).map(({ bytes }) => bytes);

function nextState(
  above: ProxyState,
  proxy: Certificate,
  info: ProxyCertInfo,
  commonName: string,
): ProxyState {
  const { inheritAll, limited: limitedPolicy } = proxyPolicies;
  const impersonates = info.language === inheritAll || info.language === limitedPolicy;
  const limited = info.language === limitedPolicy || commonName === 'limited proxy';
  if (above.limited && impersonates && !limited) {
    throw refusal('proxy-limited', {
      message: 'A full proxy was made from a limited one.',
      where: proxy.where,
      found: 'inheritAll below limited',
      fix: 'Make the proxy limited too, or from a full one.',
    });
  }
  const nowLimited = above.limited || limited;
  if (above.rights === 'none' || !impersonates) return { limited: nowLimited, rights: 'none' };
  return { limited: nowLimited, rights: nowLimited ? 'limited' : 'full' };
}
