import { lookup } from 'node:dns/promises';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { fromSystemError } from '../../../lib/errors.ts';
import { parseListen } from '../../http/plain-server.ts';

/** A bound socket that child processes accept on, each by the same descriptor: the kernel hands out connections. */
export interface ListeningSocket {
  fd: number;
  /** `http://host:port`, with the port that was given or found. */
  url: string;
  close(): void;
}

interface TcpHandle {
  readonly fd: number;
  getsockname(address: Partial<AddressInfo>): number;
  close(): void;
}

/**
 * What node:cluster makes its shared sockets with; a net.Server would accept in this process, too. A cluster gives its
 * socket up with its last worker; this one stays open until it is closed here, so that clients wait while the only
 * worker is replaced, and the port is nobody else's meanwhile.
 */
const { _createServerHandle: createHandle } = net as unknown as {
  _createServerHandle: (
    address: string,
    port: number,
    family: number,
    fd: undefined,
    flags: number,
  ) => TcpHandle | number;
};

/**
 * @param listen `HOST:PORT`; port 0 takes any free port.
 * @throws E_PORT_IN_USE, E_ADDRESS_UNAVAILABLE, E_PERMISSION, E_UNREACHABLE, E_USAGE naming the address.
 */
export async function openListeningSocket(listen: string): Promise<ListeningSocket> {
  const { host, port } = parseListen(listen);
  const { address, family } = await lookup(host).catch(error => {
    throw fromSystemError(error, listen);
  });
  const handle = createHandle(address, port, family, undefined, 0);
  if (typeof handle === 'number') throw systemError(handle, listen);
  const bound: Partial<AddressInfo> = {};
  // An address in use shows here first.
  const status = handle.getsockname(bound);
  if (status !== 0) {
    handle.close();
    throw systemError(status, listen);
  }
  const shown = family === 6 ? `[${bound.address}]` : bound.address;
  return { fd: handle.fd, url: `http://${shown}:${bound.port}`, close: () => handle.close() };
}

const systemError = (status: number, listen: string) =>
  fromSystemError(Object.assign(new Error(listen), { code: getSystemErrorName(status) }), listen);
