import { isIP } from 'node:net'
import { LabError } from '../units/errors.js'

/**
 * Returns the IP address of a host: the host itself if it is an address, else the first address that the system
 * resolves.
 *
 * @throws the error of `dns.lookup` (`ENOTFOUND`, `EAI_AGAIN`) if the name cannot be resolved
 */
export async function addressOf(host: string): Promise<string> {
  if (isIP(host) !== 0) return host
  const { lookup } = await import('node:dns/promises')
  return (await lookup(host)).address
}

/** Makes the error for a host whose socket has no TCP port. */
export function noPortError(host: string): LabError {
  return new LabError(`the server on ${host} has no TCP port: give an IP address as the host`, 'EINVAL', 'getsockname')
}
