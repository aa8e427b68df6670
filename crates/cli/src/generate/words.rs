//! Words to pick from.

pub(super) const FIRST_NAMES: &[&str] = &[
    "Ada", "Alan", "Amara", "Ana", "Ben", "Chen", "Clara", "David", "Elif", "Emma", "Femi", "Grace", "Hana", "Ivan",
    "Jonas", "Kofi", "Lea", "Mateo", "Mia", "Nadia", "Omar", "Priya", "Rosa", "Sofia", "Tom", "Yuki",
];
pub(super) const LAST_NAMES: &[&str] = &[
    "Adams", "Baker", "Chavez", "Diaz", "Evans", "Fischer", "Garcia", "Hughes", "Ito", "Jensen", "Khan", "Lee",
    "Meyer", "Novak", "Okafor", "Patel", "Quinn", "Rossi", "Silva", "Tanaka", "Weber", "Young",
];
pub(super) const CITIES: &[&str] = &[
    "Accra", "Berlin", "Bogota", "Cairo", "Delhi", "Dublin", "Hanoi", "Kyoto", "Lagos", "Lima", "Lisbon", "London",
    "Madrid", "Nairobi", "Oslo", "Paris", "Quito", "Rome", "Seattle", "Sydney", "Toronto",
];
pub(super) const STATES: &[&str] = &[
    "Alabama",
    "California",
    "Colorado",
    "Florida",
    "Georgia",
    "Maine",
    "Nevada",
    "New York",
    "Ohio",
    "Oregon",
    "Texas",
];
pub(super) const STATE_CODES: &[&str] = &["AL", "CA", "CO", "FL", "GA", "ME", "NV", "NY", "OH", "OR", "TX"];
pub(super) const COUNTRIES: &[&str] = &[
    "Australia",
    "Brazil",
    "Canada",
    "Colombia",
    "Egypt",
    "France",
    "Germany",
    "Ghana",
    "India",
    "Italy",
    "Japan",
    "Kenya",
    "Nigeria",
    "Norway",
    "Peru",
    "Portugal",
    "Spain",
    "Vietnam",
];
pub(super) const COUNTRY_CODES: &[&str] =
    &["AU", "BR", "CA", "CO", "DE", "EG", "ES", "FR", "GH", "IN", "IT", "JP", "KE", "NG", "NO", "PE", "PT", "VN"];
pub(super) const DEPARTMENTS: &[&str] =
    &["Books", "Clothing", "Electronics", "Games", "Garden", "Grocery", "Music", "Shoes", "Sports", "Tools", "Toys"];
pub(super) const PRODUCTS: &[&str] = &[
    "Bike", "Chair", "Gloves", "Hat", "Keyboard", "Lamp", "Mouse", "Pants", "Shirt", "Shoes", "Soap", "Table", "Towels",
];
pub(super) const COLORS: &[&str] =
    &["azure", "black", "blue", "gold", "green", "indigo", "ivory", "orange", "pink", "red", "silver", "teal", "white"];
pub(super) const CURRENCIES: &[&str] =
    &["AUD", "BRL", "CAD", "CHF", "CNY", "EUR", "GBP", "GHS", "INR", "JPY", "KES", "NGN", "NOK", "PEN", "USD"];
pub(super) const LOREM: &[&str] = &[
    "alias",
    "amet",
    "aut",
    "consequatur",
    "cum",
    "dolor",
    "dolores",
    "ea",
    "eius",
    "eos",
    "error",
    "est",
    "et",
    "fuga",
    "hic",
    "illo",
    "ipsa",
    "ipsum",
    "iste",
    "itaque",
    "iure",
    "labore",
    "lorem",
    "magnam",
    "modi",
    "nemo",
    "odit",
    "omnis",
    "porro",
    "quae",
    "qui",
    "quia",
    "quis",
    "ratione",
    "rem",
    "sed",
    "sint",
    "sit",
    "sunt",
    "ut",
    "velit",
    "vero",
    "vitae",
];
pub(super) const USER_AGENTS: &[&str] = &[
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
];
