// Angles, cameras, helices, and which drawn thing a point of the picture belongs to.

/** An azimuth or difference of azimuths in [−π, π). */
function wrap(phi) {
  return phi >= -Math.PI && phi < Math.PI ? phi : phi - 2 * Math.PI * Math.floor((phi + Math.PI) / (2 * Math.PI));
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** Distance of a point from a line of points [x0, y0, x1, y1, …]. */
function distance(points, x, y) {
  let least = Infinity;
  for (let i = 0; i < points.length; i += 2) {
    const [ax, ay] = [points[i], points[i + 1]];
    const [bx, by] = i + 3 < points.length ? [points[i + 2], points[i + 3]] : [ax, ay];
    const [dx, dy] = [bx - ax, by - ay];
    const along = dx || dy ? clamp(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1) : 0;
    least = Math.min(least, Math.hypot(x - ax - along * dx, y - ay - along * dy));
  }
  return least;
}

/** The convex hull of points [[x, y], …]. */
function hull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const half = (list) => {
    const chain = [];
    for (const p of list) {
      while (chain.length > 1) {
        const [a, b] = chain.slice(-2);
        if ((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]) > 0) break;
        chain.pop();
      }
      chain.push(p);
    }
    return chain.slice(0, -1);
  };
  return [...half(sorted), ...half(sorted.reverse())];
}

/** A view from above at an angle, without perspective: (η, φ, height) to the picture. */
function slantedCamera({ yaw, pitch, scale, x, y }) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  return (eta, phi, height) => {
    const deep = eta * sy + phi * cy;
    return [x + scale * (eta * cy - phi * sy), y - scale * (height * cp + deep * sp), deep];
  };
}

/** A view with perspective from `far` metres: (z, y, x) to the picture, and how near it is. At yaw 0 the beam goes to the
    right and x away from the viewer, as in a right-handed frame; at −π/2 it comes to the viewer, with x to the right. */
function roundCamera({ yaw, pitch, zoom, width, height, half, radius, far }) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  const wide = half * Math.abs(cy) + radius * Math.abs(sy);
  const high = radius * Math.abs(cp) + (half * Math.abs(sy) + radius * Math.abs(cy)) * Math.abs(sp);
  const focal = 1.06 * zoom * far * Math.min(width / (2 * wide), height / (2 * high));
  return (z, up, across) => {
    const x = z * cy - across * sy, back = -z * sy - across * cy;
    const y = up * cp - back * sp, depth = Math.max(far - (up * sp + back * cp), 0.05);
    return [width / 2 + (focal * x) / depth, height / 2 - (focal * y) / depth, depth, focal / depth];
  };
}

/** Where a straight line from the origin leaves the cylinder: [along the beam, up, across]. */
function surfacePoint(detector, eta, phi, stretch = 1) {
  const slope = Math.sinh(eta);
  const reach = Math.min(detector.radius, detector.half_length / Math.max(Math.abs(slope), 1e-9)) * stretch;
  return [reach * slope, reach * Math.sin(phi), reach * Math.cos(phi)];
}

/** A charged particle's way from the beam line to the cylinder: a helix of radius pT / (0.3 B), in metres. */
function helix(detector, pt, eta, phi, charge) {
  const bend = (0.3 * detector.field * charge) / Math.max(pt, 1e-3);
  const slope = Math.sinh(eta);
  const ending = slope ? detector.half_length / Math.abs(slope) : Infinity;
  // The chord to the barrel is its radius, that of half a turn 2/|bend| at most: slower ones never get there.
  const sine = (detector.radius * Math.abs(bend)) / 2;
  const barrel = Math.abs(bend) < 1e-6 ? detector.radius : sine < 1 ? (2 * Math.asin(sine)) / Math.abs(bend) : Infinity;
  const length = Math.min(barrel, ending, (2 * Math.PI) / Math.max(Math.abs(bend), 1e-9));
  const steps = clamp(Math.ceil((length * Math.abs(bend)) / 0.15), 2, 48);
  const points = [];
  for (let i = 0; i <= steps; i++) {
    const s = (length * i) / steps, turn = bend * s;
    const [forward, aside] = Math.abs(turn) < 1e-6 ? [s, 0] : [Math.sin(turn) / bend, (1 - Math.cos(turn)) / bend];
    // Positive charges turn clockwise in a field along +z.
    const across = forward * Math.cos(phi) + aside * Math.sin(phi);
    const up = forward * Math.sin(phi) - aside * Math.cos(phi);
    points.push([s * slope, up, across]);
  }
  return points;
}
