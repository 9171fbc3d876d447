/** TCP ports: those that the kernel chooses from, and those that no process uses. */
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { codeOf } from '../units/errors.js'

/** What Linux chooses from unless it is told otherwise. */
const DEFAULT_RANGE = { first: 32_768, last: 60_999 }
/** The lowest port that {@link freePorts} chooses. Below it are the ports of well-known services. */
const LOWEST = 10_000
/** Attempts to find a free port among those that the kernel does not choose. */
const ATTEMPTS = 100

/** Returns the range of ports that the kernel chooses from for outgoing connections and for port 0. */
export function localPortRange(): { first: number; last: number } {
  try {
    const range = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'latin1')
    const [first = 0, last = 0] = range.split('\t').map(Number)
    return { first, last }
  } catch {
    return DEFAULT_RANGE
  }
}

/**
 * Returns `count` different ports that no process listened on at the time of the call. If there are such ports below
 * the range that the kernel chooses from, they are taken from there: no connection gets one before the server does.
 */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = []
  try {
    while (servers.length < count) servers.push(await listenAnywhere())
    return servers.map((server) => (server.address() as AddressInfo).port)
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  }
}

async function listenAnywhere(): Promise<Server> {
  const candidates = localPortRange().first - LOWEST
  for (let attempt = 0; attempt < ATTEMPTS && candidates > 0; attempt++) {
    const server = await listenAt(LOWEST + Math.floor(Math.random() * candidates))
    if (server !== undefined) return server
  }
  return (await listenAt(0)) as Server
}

/** Listens at all addresses. Returns undefined if the port is in use at any of them. */
async function listenAt(port: number): Promise<Server | undefined> {
  const server = createServer()
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ port, exclusive: true }, resolve)
    })
    return server
  } catch (error) {
    if (codeOf(error) === 'EADDRINUSE' && port !== 0) return undefined
    throw error
  }
}
