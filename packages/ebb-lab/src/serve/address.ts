import { isIP } from 'node:net'

/** The IP address of a host. @throws the error of `dns.lookup` for a name that is not known */
export async function addressOf(host: string): Promise<string> {
  if (isIP(host) !== 0) return host
  const { lookup } = await import('node:dns/promises')
  return (await lookup(host)).address
}
