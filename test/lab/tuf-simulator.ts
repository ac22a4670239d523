import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { signingError } from '../../signing/errors.ts';
import { canonicalBytes } from '../../signing/stable-json.ts';

// What tests edit is plain JSON.
// oxlint-disable-next-line typescript/no-explicit-any
export type Signed = Record<string, any>;

/** A key pair of a test's own, EC P-256. */
export interface SimulatedKey {
  id: string;
  json: Signed;
  private: KeyObject;
}

/** @param id by default made from the key. */
export function newKey(id?: string): SimulatedKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const json = {
    keytype: 'ecdsa',
    scheme: 'ecdsa-sha2-nistp256',
    keyval: { public: publicKey.export({ type: 'spki', format: 'pem' }) },
  };
  return { id: id ?? sha256(canonicalBytes(json)), json, private: privateKey };
}

export const signWith = (signed: Signed, keys: readonly SimulatedKey[]): Buffer =>
  Buffer.from(
    JSON.stringify({
      signatures: keys.map(key => ({
        keyid: key.id,
        sig: sign('sha256', canonicalBytes(signed), key.private).toString('hex'),
      })),
      signed,
    }),
  );

const TOP = ['root', 'timestamp', 'snapshot', 'targets'];

/**
 * A TUF repository in memory that publishes whatever a test makes of it, one key per role; a conforming one until then.
 * `get` serves it as a cache would.
 */
export class TufSimulator {
  readonly nowMs = Date.parse('2026-11-22T12:00:00Z');
  readonly keys = new Map<string, SimulatedKey[]>(TOP.map(role => [role, [newKey()]]));
  readonly roles = new Map<string, Signed>();
  /** By the name that a client asks for. */
  readonly files = new Map<string, Buffer>();
  /** Names asked for. */
  asked: string[] = [];
  /** Status instead of a file, by name. */
  readonly failures = new Map<string, number>();
  readonly #metas = new Map<string, Signed>();
  #snapshotMeta: Signed = {};
  #rootKeys: SimulatedKey[] = [];

  constructor() {
    const root = this.#empty('root', { consistent_snapshot: true, keys: {}, roles: {} });
    this.roles.set('root', root);
    for (const role of TOP) this.authorize(role);
    this.roles.set('timestamp', this.#empty('timestamp', { meta: {} }));
    this.roles.set('snapshot', this.#empty('snapshot', { meta: {} }));
    this.roles.set('targets', this.#empty('targets', { targets: {} }));
    this.publish(...TOP);
  }

  #empty(type: string, rest: Signed): Signed {
    return { _type: type, expires: '2027-01-01T00:00:00Z', spec_version: '1.0.31', version: 0, ...rest };
  }

  /** Writes the present keys of a top-level role into the root. */
  authorize(role: string, threshold = 1): void {
    const signed = this.roles.get('root')!;
    const keys = this.keys.get(role)!;
    for (const key of keys) signed.keys[key.id] = key.json;
    signed.roles[role] = { keyids: [...new Set(keys.map(key => key.id))], threshold };
  }

  /** Gives a top-level role another key; the root has to be published after it. */
  rotate(role: string, key = newKey()): void {
    this.keys.set(role, [key]);
    this.authorize(role);
  }

  delegate(delegator: string, role: string, delegation: Signed = {}): void {
    if (!this.keys.has(role)) this.keys.set(role, [newKey()]);
    if (!this.roles.has(role)) this.roles.set(role, this.#empty('targets', { targets: {} }));
    const [key] = this.keys.get(role)!;
    const signed = this.roles.get(delegator)!;
    signed.delegations ??= { keys: {}, roles: [] };
    signed.delegations.keys[key!.id] = key!.json;
    const basics = { keyids: [key!.id], name: role, paths: ['*'], terminating: false, threshold: 1 };
    signed.delegations.roles.push({ ...basics, ...delegation });
  }

  /** Raises versions, signs, and serves: in this order, and whatever lies between left as it was. */
  publish(...roles: string[]): void {
    const order = [...roles.filter(role => !TOP.includes(role)), 'root', 'targets', 'snapshot', 'timestamp'];
    for (const role of order.filter(role => roles.includes(role))) {
      const signed = this.roles.get(role)!;
      signed.version += 1;
      if (role === 'snapshot') signed.meta = Object.fromEntries(this.#metas);
      if (role === 'timestamp') signed.meta = { 'snapshot.json': this.#snapshotMeta };
      // A root is signed by the keys before it, too.
      const keys =
        role === 'root' ? [...new Set([...this.#rootKeys, ...this.keys.get(role)!])] : this.keys.get(role)!;
      if (role === 'root') this.#rootKeys = this.keys.get(role)!;
      const bytes = signWith(signed, keys);
      const meta = {
        hashes: { sha256: sha256(bytes) },
        length: bytes.length,
        version: signed.version as number,
      };
      if (role === 'snapshot') this.#snapshotMeta = meta;
      else if (role !== 'root' && role !== 'timestamp') this.#metas.set(`${role}.json`, meta);
      this.files.set(this.nameOf(role, signed.version), bytes);
    }
  }

  nameOf(role: string, version = this.roles.get(role)!.version as number): string {
    return role === 'timestamp' ? 'timestamp.json' : `${version}.${encodeURIComponent(role)}.json`;
  }

  get firstRoot(): Buffer {
    return this.files.get('1.root.json')!;
  }

  readonly get = async (file: string, maxBytes: number): Promise<Buffer> => {
    this.asked.push(file);
    const bytes = this.files.get(file);
    const status = this.failures.get(file) ?? (bytes === undefined ? 404 : 200);
    const refusal = (code: 'E_CACHE_UNREACHABLE' | 'E_TARGET_LENGTH', found: string) =>
      signingError({ code, message: 'simulated', where: file, found });
    if (status !== 200 || bytes === undefined) throw refusal('E_CACHE_UNREACHABLE', `status ${status}`);
    if (bytes.length > maxBytes) throw refusal('E_TARGET_LENGTH', 'more');
    return bytes;
  };
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
