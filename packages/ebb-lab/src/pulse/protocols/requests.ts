/** Heads of HTTP requests, as HTTP and WebSocket send them. */

/**
 * Writes the head of a request.
 *
 * @param own headers of the protocol, which headers of the same name replace, except `Host` and those in `fixed`
 */
export function requestHead(
  { method, path, headers }: { method: string; path: string; headers: readonly (readonly [string, string])[] },
  own: readonly (readonly [name: string, value: string])[]
): string {
  const given = new Set(headers.map(([name]) => name.toLowerCase()))
  const all = [...own.filter(([name]) => !given.has(name.toLowerCase())), ...headers]
  return `${method} ${path} HTTP/1.1\r\n${all.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
}
